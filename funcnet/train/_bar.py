"""One line of text about a run in progress: redrawn on a terminal or in a notebook, or printed to a log."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from funcnet import _text

PATIENCE = 0.2
"""Seconds before anything is shown: shorter runs need no bar."""
LINE_SECONDS = 5.0
"""Seconds between two lines of a log, unless an epoch takes longer."""


class Bar:
    """The progress of a run, shown at each sync.

    Args:
        kind: "bar", a line that is redrawn in a notebook and on a terminal, and not shown elsewhere;
            "lines", a line on stderr at the end of an epoch; or False, nothing.
    """

    def __init__(self, kind: Literal["bar", "lines", False]) -> None:
        self._kind = kind
        self._writer = _writer_of(kind)
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None

    def show(self, get_context: Callable[[], Any]) -> None:
        """Show the progress; `get_context` is called only if there is something to show."""
        if self._writer is None or time.monotonic() - self._began < PATIENCE:
            return
        self._writer.write(*self._line(get_context()))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def announce(self, line: str) -> None:
        """Print a line once, also where no bar can be drawn."""
        if self._kind:
            print(_text.printable(line), file=sys.stderr, flush=True)

    def _line(self, context: Any) -> tuple[str, int]:
        """The line, and a number that changes when a log should have a new one."""
        run = context._snapshot
        total, done = run.epochs * run.steps_per_epoch, context.step
        # A line of a log is about the epoch that has ended, a bar about the one in progress.
        epoch = context.epoch if isinstance(self._writer, _Lines) else min(context.epoch + 1, run.epochs)
        parts = [f"epoch {epoch}/{run.epochs}", f"step {done:,}/{total:,}"]
        parts += [f"{name} {value:.4g}" for name, value in _most_important(context.metrics)]
        return "  ".join([*parts, *self._rate(done, total, "steps")]), context.epoch

    def _rate(self, done: int, total: int, unit: str) -> list[str]:
        """How many are done in a second, and how long the others will take."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done  # the time to compile is not representative
        seconds, since = now - self._first[0], done - self._first[1]
        if seconds <= 0 or since <= 0:
            return []
        rate = since / seconds
        return [f"{rate:,.{0 if rate >= 10 else 2}f} {unit}/s", f"{_clock((total - done) / rate)} left"]


class StudyBar(Bar):
    """The progress of a study, shown after each block of its members."""

    def _line(self, context: Any) -> tuple[str, int]:
        parts = [f"members {context.done:,}/{context.total:,}"]
        return "  ".join([*parts, *self._rate(context.done, context.total, "members")]), context.done


class _Terminal:
    """A line that is redrawn on a terminal."""

    _live: Any = None

    def write(self, line: str, epoch: int) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Notebook:
    """An output of a notebook that is updated in place. `rich` would need ipywidgets for that."""

    _output: Any = None

    def write(self, line: str, epoch: int) -> None:
        from IPython.display import display

        text = {"text/plain": line}
        if self._output is None:
            self._output = display(text, raw=True, display_id=True)
        else:
            self._output.update(text, raw=True)

    def close(self) -> None:
        self._output = None


class _Lines:
    """Lines on stderr, for logs: when an epoch has ended, but not within seconds of the last one."""

    def __init__(self) -> None:
        self._printed, self._epoch, self._last = -LINE_SECONDS, 0, ""

    def write(self, line: str, epoch: int) -> None:
        if epoch == self._epoch:
            return
        self._epoch, self._last = epoch, line
        if time.monotonic() - self._printed >= LINE_SECONDS:
            self.close()

    def close(self) -> None:
        """Print what is not printed yet, so that a log ends with the last epoch."""
        if self._last:
            print(self._last, file=sys.stderr, flush=True)
            self._printed, self._last = time.monotonic(), ""


def _writer_of(kind: Literal["bar", "lines", False]) -> _Terminal | _Notebook | _Lines | None:
    if kind == "lines":
        return _Lines()
    if kind == "bar" and _is_notebook():
        return _Notebook()
    return _Terminal() if kind == "bar" and sys.stderr.isatty() else None


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _most_important(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """The values that fit on a line: losses first, then metrics."""
    names = sorted(values, key=lambda name: (not name.endswith("loss"), name.startswith("val_"), name))
    return [(name, values[name]) for name in names if name != "train_loss"][:4]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

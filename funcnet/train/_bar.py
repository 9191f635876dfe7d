"""One line on the terminal: progress, losses and metrics, time left."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from funcnet.train._callbacks import CallbackContext

PATIENCE = 0.2
"""Seconds before anything is shown: shorter runs need no bar."""


class Bar:
    """A line that is redrawn at each sync; nothing if stderr is not a terminal."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown and sys.stderr.isatty()
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._live: Any = None

    def show(self, get_context: Callable[[], CallbackContext]) -> None:
        """Draw the line; `get_context` is called only if it is shown."""
        if not self.shown or time.monotonic() - self._began < PATIENCE:
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
        line = Text(self._line(get_context()), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, context: CallbackContext) -> str:
        run = context._snapshot
        total, done = run.epochs * run.steps_per_epoch, context.step
        now = time.monotonic()
        if self._first is None:
            self._first = now, done  # the time to compile is not representative
        parts = [f"epoch {min(context.epoch + 1, run.epochs)}/{run.epochs}", f"step {done:,}/{total:,}"]
        parts += [f"{name} {value:.4g}" for name, value in _most_important(context.metrics)]
        seconds, steps = now - self._first[0], done - self._first[1]
        if seconds > 0 and steps > 0:
            rate = steps / seconds
            parts += [f"{rate:,.0f} steps/s", f"{_clock((total - done) / rate)} left"]
        return "  ".join(parts)


def _most_important(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """The values that fit on a line: losses first, then metrics."""
    names = sorted(values, key=lambda name: (not name.endswith("loss"), name.startswith("val_"), name))
    return [(name, values[name]) for name in names if name != "train_loss"][:4]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

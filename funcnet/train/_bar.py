"""One line on the terminal: how far a training is, what it measures, how long it still takes."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from funcnet.train._callbacks import CallbackContext

PATIENCE = 0.2
"""Seconds before anything is shown: what is done by then needs no bar."""


class Bar:
    """A line that is drawn anew at each visit; silent where nobody watches: when stderr is no terminal."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown and sys.stderr.isatty()
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._live: Any = None

    def show(self, look: Callable[[], CallbackContext]) -> None:
        """Draw where the training stands; `look` is called if there is anybody to see it."""
        if not self.shown or time.monotonic() - self._began < PATIENCE:
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
        line = Text(self._line(look()), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, view: CallbackContext) -> str:
        total, done = view.epochs * view.steps_per_epoch, view.step
        now = time.monotonic()
        if self._first is None:
            self._first = now, done  # what compiling took says nothing about what is to come
        words = [f"epoch {min(view.epoch + 1, view.epochs)}/{view.epochs}", f"step {done:,}/{total:,}"]
        words += [f"{name} {value:.4g}" for name, value in _first(view.values)]
        seconds, steps = now - self._first[0], done - self._first[1]
        if seconds > 0 and steps > 0:
            rate = steps / seconds
            words += [f"{rate:,.0f} steps/s", f"{_clock((total - done) / rate)} left"]
        return "  ".join(words)


def _first(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """What fits on a line: the losses, then the metrics."""
    names = sorted(values, key=lambda name: (not name.endswith("loss"), name.startswith("val_"), name))
    return [(name, values[name]) for name in names if name != "train_loss"][:4]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

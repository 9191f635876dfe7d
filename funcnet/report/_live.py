"""Curves of loss and metrics, updated during training."""

import os
import time

from funcnet import _check, _files
from funcnet.report._epochs import history_png
from funcnet.train import Callback, CallbackContext, Run
from funcnet.train._callbacks import resolve_path


class LivePlot(Callback):
    """A PNG file of loss and metrics by epoch, updated while a `Trainer` runs.

    Args:
        path: the file; a relative path is relative to the Trainer's directory, if it has one. Most viewers
            and notebooks reload the file automatically.
        seconds: minimum time between two updates; the final figure is always drawn.

    Raises:
        TypeError: if `path` is not a path, or `seconds` not a number.
        ValueError: if `path` is empty, or `seconds` is negative.

    Example:
        >>> import pathlib, tempfile, jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=3)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     live = fn.report.LivePlot("curves.png")
        ...     run = fn.Trainer(train, folder, [live])(model, (x, x[:, 0]), jax.random.key(1))
        ...     pathlib.Path(folder, "curves.png").read_bytes()[:4]
        b'\\x89PNG'
    """

    read_only = True

    def __init__(self, path: str | os.PathLike[str] = "curves.png", seconds: float = 5.0) -> None:
        seconds = _check.between("seconds", seconds, 0.0, float("inf"))
        self.path, self.seconds = _check.path("path", path, "curves.png"), seconds
        self._drawn = time.monotonic()

    def on_epoch_end(self, context: CallbackContext) -> None:
        if context._snapshot.is_latest and time.monotonic() - self._drawn >= self.seconds:
            self._draw(context)

    def on_fit_end(self, context: CallbackContext) -> None:
        if context.epoch > 0:
            self._draw(context)

    def _draw(self, context: CallbackContext) -> None:
        _files.write(resolve_path(self.path, context), history_png(Run(None, context.state)))
        self._drawn = time.monotonic()

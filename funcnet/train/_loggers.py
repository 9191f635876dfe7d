"""Losses and metrics written while a run is in progress: CSV, JSON lines, TensorBoard."""

import abc
import contextlib
import csv
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from funcnet import _check
from funcnet._types import Array
from funcnet.train._callbacks import Callback, CallbackContext, resolve_path


class _Log(Callback, abc.ABC):
    """A file with a line for each epoch.

    It is rewritten from the history at the start, so that a resumed run has exactly one line per epoch.
    """

    read_only = True

    def __init__(self, path: str | Path) -> None:
        _check_path(path)
        self.path = Path(path)
        self._file: TextIO | None = None

    def on_fit_start(self, context: CallbackContext) -> None:
        self.on_fit_end(context)
        self._file = _new_file(resolve_path(self.path, context))
        progress = context._snapshot.progress
        self._begin(progress.state.history)
        if context.epoch:
            self._write(progress.history, 0, context.epoch)
        self._file.flush()

    def on_sync(self, context: CallbackContext) -> None:
        if self._file is not None:
            self._write(context._snapshot.history, context._snapshot.reported_epoch, context.epoch)
            self._file.flush()

    def on_fit_end(self, context: CallbackContext) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def on_exception(self, context: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(context)

    @abc.abstractmethod
    def _begin(self, history: Mapping[str, Array]) -> None:
        """Write the header, if there is one."""

    @abc.abstractmethod
    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        """Write the lines of epochs `first` to `last`, the last excluded."""


def _check_path(path: Any) -> None:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"path must be a path, got {_check.describe(path)}. Try fn.train.CSV('history.csv')."
        )


def _new_file(path: Path) -> TextIO:
    # Truncating a file takes a millisecond, about thirty times as long as creating a new one.
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return path.open("w", newline="")


class CSV(_Log):
    """A CSV file with the columns `epoch`, from 0, and one for each name in the history. NaN is left empty.

    float32 numbers are written with nine digits, which identify them; other dtypes in full.

    Args:
        path: the file; a relative path is in the Trainer's directory, if it has one.

    Example:
        >>> import pathlib, tempfile, jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=2)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = fn.train.CSV(f"{folder}/history.csv")
        ...     run = fn.Trainer(train, callbacks=[log])(model, (x, x[:, 0]), jax.random.key(1))
        ...     print(pathlib.Path(folder, "history.csv").read_text().splitlines()[0])
        epoch,loss
    """

    def _begin(self, history: Mapping[str, Array]) -> None:
        assert self._file is not None
        self._names = list(history)
        csv.writer(self._file).writerow(["epoch", *self._names])
        # Nine digits identify a float32 and take a third of the time of all digits.
        cells = ["%.9g" if values.dtype == np.float32 else "%r" for values in history.values()]
        self._line = ",".join(["%d", *cells]) + "\r\n"

    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        assert self._file is not None
        columns = (history[name][first:last] for name in self._names)
        lines = [self._line % cells for cells in zip(range(first, last), *columns, strict=True)]
        self._file.write("".join(lines).replace("nan", ""))


class JSONLines(_Log):
    """A file with one JSON object for each epoch: `epoch` from 0, and its losses and metrics by name.

    Args:
        path: the file; a relative path is in the Trainer's directory, if it has one.

    Example:
        >>> import funcnet as fn
        >>> fn.train.JSONLines("history.jsonl").path.name
        'history.jsonl'
    """

    def _begin(self, history: Mapping[str, Array]) -> None:
        pass

    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        assert self._file is not None
        for epoch in range(first, last):
            values = {
                name: column[epoch] for name, column in history.items() if column[epoch] == column[epoch]
            }
            values_or_strings = {n: v if np.isfinite(v) else str(v) for n, v in values.items()}
            self._file.write(json.dumps({"epoch": epoch, **values_or_strings}) + "\n")


class TensorBoard(Callback):
    """Scalars for TensorBoard, by epoch.

    Needs the package tensorboardX: pip install 'funcnet[tensorboard]'.

    Args:
        path: folder of the event files; a relative path is in the Trainer's directory, if it has one.

    Raises:
        ImportError: if tensorboardX is not installed.

    Example:
        >>> import funcnet as fn
        >>> fn.train.TensorBoard("scalars").path.name
        'scalars'
    """

    read_only = True

    def __init__(self, path: str | Path = "tensorboard") -> None:
        _check_path(path)
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs the package tensorboardX: pip install 'funcnet[tensorboard]'."
            ) from error
        self.path = Path(path)
        self._writer: Any = None

    def on_fit_start(self, context: CallbackContext) -> None:
        from tensorboardX import SummaryWriter

        # TensorBoard then discards events after this step that an earlier process wrote.
        self._writer = SummaryWriter(str(resolve_path(self.path, context)), purge_step=context.epoch)

    def on_epoch_end(self, context: CallbackContext) -> None:
        for name, value in context.metrics.items():
            self._writer.add_scalar(name, value, context.epoch - 1)

    def on_fit_end(self, context: CallbackContext) -> None:
        self._writer.close()

    def on_exception(self, context: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(context)

"""What was measured, written while it is measured: CSV, JSON lines, TensorBoard."""

import abc
import contextlib
import csv
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from funcnet._types import Array
from funcnet.train._callbacks import Callback, CallbackContext, place_of


class _Log(Callback, abc.ABC):
    """A file with a line for each epoch.

    It is begun anew from the history, so that a training that goes on after it was killed leaves each
    epoch once.
    """

    read_only = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None

    def on_fit_start(self, view: CallbackContext) -> None:
        self.on_fit_end(view)
        self._file = _new_file(place_of(self.path, view))
        self._begin(view.progress.state.history)
        if view.epoch:
            self._write(view.progress.history, 0, view.epoch)
        self._file.flush()

    def on_sync(self, view: CallbackContext) -> None:
        if self._file is not None:
            self._write(view.history, view.told, view.epoch)
            self._file.flush()

    def on_fit_end(self, view: CallbackContext) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def on_exception(self, view: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(view)

    @abc.abstractmethod
    def _begin(self, history: Mapping[str, Array]) -> None:
        """Write what stands before the first epoch."""

    @abc.abstractmethod
    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        """Write the lines of epochs `first` to `last`, the last not included."""


def _new_file(path: Path) -> TextIO:
    # To empty a file that holds something takes a millisecond, some thirty times as long.
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return path.open("w", newline="")


class CSV(_Log):
    """A CSV file: `epoch` from 0 and a column for each name in the history; empty where none was measured.

    float32 numbers are written with nine digits, which tell each from every other; other dtypes in full.

    Args:
        path: the file; a relative one lies in the Trainer's directory, if it has one.

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
        # Nine digits tell every float32 from every other, in a third of the time that all of them take.
        cells = ["%.9g" if values.dtype == np.float32 else "%r" for values in history.values()]
        self._line = ",".join(["%d", *cells]) + "\r\n"

    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        assert self._file is not None
        columns = (history[name][first:last] for name in self._names)
        lines = [self._line % cells for cells in zip(range(first, last), *columns, strict=True)]
        self._file.write("".join(lines).replace("nan", ""))


class JSONLines(_Log):
    """A file with one JSON object for each epoch: `epoch` from 0, and what was measured in it, by name.

    Args:
        path: the file; a relative one lies in the Trainer's directory, if it has one.

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
            known = {name: value if np.isfinite(value) else str(value) for name, value in values.items()}
            self._file.write(json.dumps({"epoch": epoch, **known}) + "\n")


class TensorBoard(Callback):
    """Scalars for TensorBoard, by epoch.

    Needs the package tensorboardX: pip install 'funcnet[tensorboard]'.

    Args:
        path: folder of the event files; a relative one lies in the Trainer's directory, if it has one.

    Raises:
        ImportError: if tensorboardX is not installed.

    Example:
        >>> import funcnet as fn
        >>> fn.train.TensorBoard("scalars").path.name
        'scalars'
    """

    read_only = True

    def __init__(self, path: str | Path = "tensorboard") -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs the package tensorboardX: pip install 'funcnet[tensorboard]'."
            ) from error
        self.path = Path(path)
        self._writer: Any = None

    def on_fit_start(self, view: CallbackContext) -> None:
        from tensorboardX import SummaryWriter

        # What an earlier process wrote beyond this step is void: TensorBoard's own word for it.
        self._writer = SummaryWriter(str(place_of(self.path, view)), purge_step=view.epoch)

    def on_epoch_end(self, view: CallbackContext) -> None:
        for name, value in view.values.items():
            self._writer.add_scalar(name, value, view.epoch - 1)

    def on_fit_end(self, view: CallbackContext) -> None:
        self._writer.close()

    def on_exception(self, view: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(view)

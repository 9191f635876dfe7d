"""Losses and metrics written while a run is in progress: CSV, JSON lines, TensorBoard."""

import abc
import contextlib
import csv
import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any

import jax
import numpy as np

from funcnet import _check, _files, _processes
from funcnet.train._callbacks import Callback, CallbackContext, resolve_path


class _Log(Callback, abc.ABC):
    """A file with a line for each epoch.

    It is rewritten from the history at the start, so that a resumed run has exactly one line per epoch.
    """

    read_only = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _check.path("path", path, "history.csv")
        self._file: IO[str] | None = None

    def on_fit_start(self, context: CallbackContext) -> None:
        self.on_fit_end(context)
        if not _processes.is_first():
            return
        self._file = _files.open_log(resolve_path(self.path, context))
        progress = context._snapshot.progress
        with self._explain_errors():
            self._dtypes = {name: values.dtype for name, values in progress.state.history.items()}
            self._begin(list(progress.history))
            if context.epoch:
                self._write(progress.history, 0, context.epoch)
            self._file.flush()

    def on_sync(self, context: CallbackContext) -> None:
        if self._file is not None:
            with self._explain_errors():
                self._write(context._snapshot.history, context._snapshot.reported_epoch, context.epoch)
                self._file.flush()

    def on_fit_end(self, context: CallbackContext) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with self._explain_errors():
                file.close()

    def on_exception(self, context: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(context)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # a file can't be pickled; a run opens its own

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: the history could not be written. What was written before stays, and "
                "resuming the run writes the file again",
                str(self.path),
            ) from None

    @abc.abstractmethod
    def _begin(self, names: list[str]) -> None:
        """Write the header for these columns, if there is one."""

    @abc.abstractmethod
    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        """Write the lines of epochs `first` to `last`, the last excluded."""


class CSV(_Log):
    """A CSV file with the columns `epoch`, from 0, and one for each name in the history. NaN is left empty.

    float32 numbers are written with nine digits, which identify them; other dtypes in full. A learning rate
    is not in the history unless a callback puts it there, such as this one for `optax.inject_hyperparams`:
    `lambda context: fn.train.Request(values={"lr": context.state.opt_state.hyperparams["learning_rate"]})`.
    `Monitor` records all hyperparameters beside the history.

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

    def _begin(self, names: list[str]) -> None:
        assert self._file is not None
        self._names = names
        csv.writer(self._file).writerow(["epoch", *self._names])
        # Nine digits identify a float32 and take a third of the time of all digits.
        dtypes = (self._dtypes.get(name, jax.dtypes.canonicalize_dtype(float)) for name in names)
        cells = ["%.9g" if dtype == np.float32 else "%r" for dtype in dtypes]
        self._line = ",".join(["%d", *cells]) + "\r\n"

    def _write(self, history: Mapping[str, list[float]], first: int, last: int) -> None:
        assert self._file is not None
        if list(history) != self._names:  # a callback requested a new value: a column that all lines have
            if self._file.seekable():
                self._file.seek(0)
                self._file.truncate()
                first = 0
            self._begin(list(history))
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

    def _begin(self, names: list[str]) -> None:
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
    """Scalars for TensorBoard, by epoch, and the images of `Pictures` of the same Trainer.

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

    def __init__(self, path: str | os.PathLike[str] = "tensorboard") -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs the package tensorboardX: pip install 'funcnet[tensorboard]'."
            ) from error
        self.path = _check.path("path", path, "tensorboard")
        self._writer: Any = None

    def on_fit_start(self, context: CallbackContext) -> None:
        from tensorboardX import SummaryWriter

        if not _processes.is_first():
            return
        folder = _files.make_folder(resolve_path(self.path, context), "Choose another path for TensorBoard")
        # TensorBoard then discards events after this step that an earlier process wrote.
        self._writer = SummaryWriter(str(folder), purge_step=context.epoch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None}

    def on_sync(self, context: CallbackContext) -> None:
        if self._writer is None:
            return
        for name, column in context._snapshot.history.items():
            for epoch in range(context._snapshot.reported_epoch, context.epoch):
                if column[epoch] == column[epoch]:
                    self._writer.add_scalar(name, column[epoch], epoch)

    def add_png(self, name: str, png: bytes, epoch: int) -> None:
        """Write an image that is a PNG file already, of an epoch counted from 0."""
        from tensorboardX.proto.summary_pb2 import Summary

        width, height, _, kind = struct.unpack(">2I2B", png[16:26])
        channels = {0: 1, 2: 3, 6: 4}[kind]  # grey, RGB, RGBA
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), epoch)

    def on_fit_end(self, context: CallbackContext) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_exception(self, context: CallbackContext, error: BaseException) -> None:
        self.on_fit_end(context)

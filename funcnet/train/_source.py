"""Where a Trainer's batches come from: arrays on the device, or a stream. Both take the same steps."""

import abc
import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import numpy as np

from funcnet._types import Key, PyTree
from funcnet.data import BatchStream, Dataset, Stream
from funcnet.data._batches import Chunk, num_batches
from funcnet.data._dataset import take
from funcnet.data._prefetch import prefetch
from funcnet.train._progress import Progress

SAMPLE = 1024
"""Rows of the data that callbacks get to see."""


class Source(abc.ABC):
    """The data of one call of a Trainer.

    Args:
        train: what `fit` made.
        data: a Dataset, a Stream or a BatchStream.
        valid: the validation rows, or None.
        like: rows of it, for their shapes and dtypes; of arrays in memory all.
        per_epoch: batches in an epoch.
        rows: rows of a batch.
    """

    def __init__(
        self, train: Any, data: Any, valid: Dataset | None, like: Dataset, per_epoch: int, rows: int
    ) -> None:
        self.train, self.data, self.valid, self.like = train, data, valid, like
        self.per_epoch, self.rows = per_epoch, rows
        self.rates, self.kind = train.pieces.rates, (rows, per_epoch)

    @functools.cached_property
    def sample(self) -> Dataset:
        """The first rows, at most 1024."""
        return take(self.like, np.arange(min(SAMPLE, len(self.like))))

    def begin(self, model: PyTree, key: Key) -> Progress:
        """The progress before the first step."""
        fair = isinstance(self.data, Dataset)
        begun: Progress = self.train.pieces.begin(model, self.like, key, self.valid, fair=fair)
        return begun.at_start()

    def start(self, progress: Progress, until: int) -> bool:
        """Begin to advance, if that can be, for the `advance` to come; what fails here, fails there."""
        return False  # a stream has to be read first

    @abc.abstractmethod
    def advance(self, progress: Progress, until: int) -> Progress:
        """Steps until step `until`, or until the training ends."""

    def close(self) -> None:  # noqa: B027  (arrays in memory hold nothing)
        """Let go of what was held between two steps."""


class InMemory(Source):
    """Arrays on the device: any number of steps and epochs is one program."""

    _started: tuple[Progress, Callable[[], Progress]] | None = None

    def start(self, progress: Progress, until: int) -> bool:
        with contextlib.suppress(Exception):
            self._started = progress, self._advancing(progress, until)
        return self._started is not None

    def advance(self, progress: Progress, until: int) -> Progress:
        started, self._started = self._started, None
        if started is not None and started[0] is progress:
            return started[1]()
        return self._advancing(progress, until)()

    def close(self) -> None:
        self._started = None

    def _advancing(self, progress: Progress, until: int) -> Callable[[], Progress]:
        return self.train.pieces.advance(progress, self.data, self.valid, until, self.per_epoch)


class Streamed(Source):
    """Batches that a thread reads ahead, some of them at a time."""

    _pieces: Generator[Chunk, None, None] | None = None
    _piece: Chunk | None = None

    def advance(self, progress: Progress, until: int) -> Progress:
        step, epoch = progress.step, progress.epoch
        while step < until and progress.goes_on(self.train.epochs):
            place = step - epoch * self.per_epoch
            piece = self._with(progress, epoch, place)
            first = place - piece.first
            count = min(piece.length - first, until - step)
            progress = self.train.pieces.feed(
                progress, piece.batches, self.valid, first, count, self.per_epoch
            )
            before, step, epoch = step, progress.step, progress.epoch
            if step == before:  # not finite: the training has ended
                break
        return progress

    def close(self) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._pieces = self._piece = None

    def _with(self, progress: Progress, epoch: int, place: int) -> Chunk:
        """The piece that holds batch `place` of an epoch; the next one, unless a call has just begun."""
        held = self._piece
        if held is not None and held.epoch == epoch and held.first <= place < held.first + held.length:
            return held
        if self._pieces is None:
            key = progress.state.key if self.train.shuffle else None
            self._pieces = prefetch(self._all(key, epoch, place), self.data.prefetch)
        piece = next(self._pieces)
        self._piece = piece._replace(batches=jax.device_put(piece.batches))
        return self._piece

    def _all(self, key: Key | None, epoch: int, place: int) -> Iterator[Chunk]:
        """All pieces from a batch on: the thread reads on into the next epoch."""
        for number in range(epoch, self.train.epochs):
            first = place if number == epoch else 0
            yield from self.data.chunks(key, number, first, self.per_epoch, self.rows)


def source_of(trainer: Any, model: PyTree, data: Any, key: Key, valid: Any) -> Source:
    """The data of a call, checked against everything else that it was called with."""
    train, streams = trainer.train, isinstance(data, Stream | BatchStream)
    rows = data.first(SAMPLE) if streams else data
    checked, valid = train.checked(model, rows, key, valid)
    if isinstance(data, BatchStream):
        size, per_epoch = len(data.first(2**31)), data.num_batches
    else:
        size = train.rows_of_update(len(data if streams else checked))
        per_epoch = num_batches(len(data if streams else checked), size)
    if trainer.limit_batches is not None:
        per_epoch = min(per_epoch, trainer.limit_batches)
    kind = Streamed if streams else InMemory
    return kind(train, data if streams else checked, valid, checked, per_epoch, size)

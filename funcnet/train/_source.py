"""Where a Trainer's batches come from: arrays on the device, or a stream. Both take the same steps."""

from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._types import Key, PyTree
from funcnet.data import BatchStream, Dataset, Stream
from funcnet.data._batches import steps
from funcnet.data._dataset import take
from funcnet.data._stream import Piece
from funcnet.train._pieces import Progress

SAMPLE = 1024
"""Rows of the data that callbacks get to see."""


class Source:
    """The data of one call of a Trainer.

    Args:
        train: what `fit` made.
        data: a Dataset, a Stream or a BatchStream.
        valid: the validation rows, or None.
        sample: the first rows.
        per_epoch: batches in an epoch.
        rows: rows of a batch.
    """

    def __init__(
        self, train: Any, data: Any, valid: Dataset | None, sample: Dataset, per_epoch: int, rows: int
    ) -> None:
        self.train, self.data, self.valid, self.sample = train, data, valid, sample
        self.per_epoch, self.rows = per_epoch, rows

    def begin(self, model: PyTree, key: Key) -> Progress:
        """The progress before the first step."""
        return self.train.pieces.begin(
            model, self.sample, key, self.valid, fair=isinstance(self.data, Dataset)
        )

    def advance(self, progress: Progress, until: int) -> Progress:
        """Steps until step `until`, or until the training ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what was held between two steps."""


class InMemory(Source):
    """Arrays on the device: any number of steps and epochs is one program."""

    def advance(self, progress: Progress, until: int) -> Progress:
        numbers = jnp.int32(until), jnp.int32(self.per_epoch)
        return self.train.pieces.advance(progress, self.data, self.valid, *numbers)


class Streamed(Source):
    """Batches that a thread reads ahead, some of them at a time."""

    _pieces: Generator[Piece, None, None] | None = None
    _piece: Piece | None = None
    _epoch = -1

    def advance(self, progress: Progress, until: int) -> Progress:
        step, epoch = int(progress.state.step), int(progress.state.epoch)
        while step < until and epoch < self.train.epochs and bool(progress.state.stop.running()):
            place = step - epoch * self.per_epoch
            piece = self._with(progress, epoch, place)
            first = place - piece.first
            count = min(len(piece.batches.weight) - first, until - step, self.per_epoch - place)
            numbers = (jnp.int32(number) for number in (first, count, self.per_epoch))
            progress = self.train.pieces.feed(progress, piece.batches, self.valid, *numbers)
            before, step, epoch = step, int(progress.state.step), int(progress.state.epoch)
            if step == before:  # not finite: the training has ended
                break
        return progress

    def close(self) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._pieces, self._piece, self._epoch = None, None, -1

    def _with(self, progress: Progress, epoch: int, place: int) -> Piece:
        """The piece that holds batch `place` of an epoch."""
        held = self._piece
        inside = held is not None and held.first <= place < held.first + len(held.batches.weight)
        if self._epoch == epoch and inside and held is not None:
            return held
        follows = held is not None and held.first + len(held.batches.weight) == place
        if self._epoch != epoch or not follows or self._pieces is None:
            self.close()
            key = progress.state.key if self.train.shuffle else None
            self._pieces, self._epoch = self.data.pieces(key, epoch, place, self.rows), epoch
        piece = next(self._pieces)
        self._piece = Piece(piece.first, jax.device_put(piece.batches))
        return self._piece


def source_of(trainer: Any, model: PyTree, data: Any, key: Key, valid: Any) -> Source:
    """The data of a call, checked against everything else that it was called with."""
    train, streams = trainer.train, isinstance(data, Stream | BatchStream)
    rows = data.first(SAMPLE) if streams else data
    checked, valid = train.checked(model, rows, key, valid)
    if isinstance(data, BatchStream):
        size, per_epoch = len(data.first(2**31)), data.count
    else:
        size = train.rows_of_update(len(data if streams else checked))
        per_epoch = steps(len(data if streams else checked), size)
    if trainer.limit_batches is not None:
        per_epoch = min(per_epoch, trainer.limit_batches)
    kind = Streamed if streams else InMemory
    sample = take(checked, np.arange(min(SAMPLE, len(checked))))
    return kind(train, data if streams else checked, valid, sample, per_epoch, size)

"""Where a Trainer's batches come from: arrays in memory, or a stream. Both take the same steps."""

import abc
import functools
import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check, _parts, _processes
from funcnet._module import needs_batch
from funcnet._types import Key, PyTree
from funcnet.data import BatchStream, Dataset, Stream
from funcnet.data._batches import Chunk, PaddedBatch, batches, num_batches
from funcnet.data._dataset import take
from funcnet.data._prefetch import prefetch
from funcnet.train._digest import ADVICE
from funcnet.train._fit import Fit
from funcnet.train._progress import Progress

SAMPLE = 1024
"""Rows of the data that callbacks can see."""


class Source(abc.ABC):
    """The data of one call of a Trainer.

    Args:
        train: a training function.
        data: a Dataset, a Stream or a BatchStream.
        valid: the validation rows, or None.
        like: rows with the shapes and dtypes of the data; all rows, if they are in memory.
        per_epoch: batches in an epoch.
        rows: rows in a batch.
    """

    def __init__(
        self, train: Fit, data: Any, valid: Dataset | None, like: Dataset, per_epoch: int, rows: int
    ) -> None:
        self.chunks, self.plan = train._chunks, train._plan
        self.data, self.valid, self.like = data, valid, like
        self.per_epoch, self.rows = per_epoch, rows
        self.rates, self.kind = self.chunks.rates, (rows, per_epoch)

    @functools.cached_property
    def sample(self) -> Dataset:
        """The first rows, at most 1024."""
        return take(self.like, np.arange(min(SAMPLE, len(self.like))))

    def start(self, model: PyTree, key: Key) -> Progress:
        """The progress before the first step."""
        has_train_data = isinstance(self.data, Dataset)
        progress: Progress = self.chunks.start(
            model, self.like, key, self.valid, has_train_data=has_train_data
        )
        return progress.at_start()

    @abc.abstractmethod
    def batches(self, key: Key | None, epoch: int) -> Iterator[PaddedBatch]:
        """The batches of an epoch, in the order of `fit`; None for the order of the data."""

    @abc.abstractmethod
    def advance(self, progress: Progress, until: int) -> Progress:
        """Make steps until step `until`, or until the run ends."""

    def batch_digests(self) -> np.ndarray | None:
        """Digests of batches from an iterator, to be saved; None if the fingerprint covers all data."""
        return None

    def expect_batches(self, digests: np.ndarray) -> None:  # noqa: B027  (only iterators can differ)
        """Raise as soon as a batch differs from the one in a checkpoint."""

    def close(self) -> None:  # noqa: B027  (arrays in memory hold nothing)
        """Release what is held between two steps."""


class InMemory(Source):
    """Arrays on the device: one call of a compiled program makes any number of steps and epochs."""

    def batches(self, key: Key | None, epoch: int) -> Iterator[PaddedBatch]:
        return itertools.islice(batches(self.data, self.rows, key, epoch), self.per_epoch)

    def advance(self, progress: Progress, until: int) -> Progress:
        rows = self.data, self.valid
        numbers = np.int32(until), np.int32(self.per_epoch)
        attempt = self.chunks.advance(progress, *rows, *numbers, check="deferred")
        return self.chunks.accept(attempt, progress, *rows, until, self.per_epoch)


class Streamed(Source):
    """Batches that a thread reads in advance, in chunks."""

    _reader: Generator[Chunk, None, None] | None = None
    _current: Chunk | None = None
    _digests: list[str] | None = None
    """Of the batches of an iterator that were trained on, by their number in an epoch; None if not "
    "saved."""
    _expected: Sequence[str] = ()
    _own_rows: np.ndarray | None = None
    """The rows of each batch that this process reads, since they are on its devices; None for all."""

    def batch_digests(self) -> np.ndarray | None:
        if not isinstance(self.data, BatchStream):
            return None
        self._digests = [] if self._digests is None else self._digests
        words = [int(digest[i : i + 8], 16) for digest in self._digests for i in (0, 8)]
        return np.array(words, np.uint32).reshape(-1, 2)

    def expect_batches(self, digests: np.ndarray) -> None:
        self._expected = [f"{high:08x}{low:08x}" for high, low in digests.tolist()]
        self._digests = list(self._expected)

    def batches(self, key: Key | None, epoch: int) -> Iterator[PaddedBatch]:
        for chunk in self.data.chunks(key, epoch, 0, self.per_epoch, self.rows):
            for i in range(chunk.length):
                yield jax.tree.map(lambda a: a[i], chunk.batches)  # noqa: B023

    def advance(self, progress: Progress, until: int) -> Progress:
        step, epoch = progress.step, progress.epoch
        while step < until and progress.should_continue(self.plan.epochs):
            place = step - epoch * self.per_epoch
            chunk = self._chunk_at(progress, epoch, place)
            first = place - chunk.first
            count = min(chunk.length - first, until - step)
            rows, numbers = (chunk.batches, self.valid), (first, count, self.per_epoch)
            short = self._short_size(chunk) if needs_batch(progress.state.model) else None
            attempt = self.chunks.advance_on_batches(
                progress, *rows, *map(np.int32, numbers), check="deferred", short=short
            )
            progress = self.chunks.accept_on_batches(attempt, progress, *rows, *numbers, short)
            step, epoch = progress.step, progress.epoch
        return progress

    def _short_size(self, chunk: Chunk) -> int | None:
        """The rows of the last batch of a chunk if it is short: those of a stream all have weight 1."""
        if isinstance(self.data, Stream):
            rows = len(self.data) - (chunk.first + chunk.length - 1) * self.rows
        else:
            rows = int(np.asarray(chunk.batches.weight[chunk.length - 1]).sum())
        return rows if 0 < rows < self.rows else None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._current = None

    def _chunk_at(self, progress: Progress, epoch: int, place: int) -> Chunk:
        """The chunk that holds batch `place` of an epoch: the current one, or the next that is read."""
        current = self._current
        if current is not None and current.epoch == epoch and 0 <= place - current.first < current.length:
            return current
        if self._reader is None:
            # Here, since the thread of the reader knows of no mesh.
            self._own_rows = _parts.own_rows(self.rows) if isinstance(self.data, Stream) else None
            if isinstance(self.data, BatchStream) and _processes.count() > 1 and self._digests is None:
                self._digests = []
            key = progress.state.key if self.plan.shuffle else None
            self._reader = prefetch(self._read_from(key, epoch, place), self.data.prefetch)
        with _processes.together():
            chunk = next(self._reader)
        if chunk.digest is not None:
            _processes.check_equal({f"batch {chunk.first} of the stream": chunk.digest}, ADVICE)
        batches = chunk.batches
        if self._own_rows is None:
            batches = jax.device_put(batches)
        else:
            batches = _parts.from_own_rows(batches, self._own_rows, self.rows)
        if self._digests is not None and chunk.digest is not None:
            self._digests[chunk.first : chunk.first + 1] = [chunk.digest]
        self._current = chunk._replace(batches=batches)
        return self._current

    def _read_from(self, key: Key | None, epoch: int, place: int) -> Iterator[Chunk]:
        """All chunks from batch `place` of an epoch to the end of the last epoch."""
        for number in range(epoch, self.plan.epochs):
            first = place if number == epoch else 0
            options: dict[str, Any] = {} if self._own_rows is None else {"rows": self._own_rows}
            options |= {} if self._digests is None else {"compare": self._compare}
            yield from self.data.chunks(key, number, first, self.per_epoch, self.rows, **options)

    def _compare(self, number: int, digest: str) -> None:
        if number < len(self._expected) and digest != self._expected[number]:
            raise ValueError(
                f"batch {number} of the stream differs from the one that this run was trained on before it "
                "was interrupted. A run can be resumed only if factory returns the same batches each time. "
                'Choose another directory. In code, fn.Trainer(..., resume="force") resumes anyway, and '
                'resume="never" starts over.'
            )


def open_source(
    train: Fit, limit_batches: int | None, model: PyTree, data: Any, key: Key, valid: Any
) -> Source:
    """Check that the arguments of a call match; return its data."""
    streams = isinstance(data, Stream | BatchStream)
    with _processes.together():
        rows, valid = train._prepare(model, data.first(SAMPLE) if streams else data, key, valid)
    if isinstance(data, BatchStream):
        size, per_epoch = len(data.first(2**31)), data.num_batches
    else:
        count = len(data if streams else rows)
        size = train._plan.update_size(count)
        per_epoch = num_batches(count, size)
    if limit_batches is not None:
        per_epoch = min(per_epoch, limit_batches)
    _check.num_steps(train.epochs, per_epoch)
    train = train._for_steps(train.epochs * per_epoch)
    if _processes.count() > 1:
        train._check_equal(model, data if streams else rows, rows, key, valid)
    if streams:
        return Streamed(train, data, valid, rows, per_epoch, size)
    return InMemory(train, rows, valid, rows, per_epoch, size)

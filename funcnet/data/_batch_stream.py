"""Batches from a user's iterator, for a `Trainer`."""

import hashlib
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Key, PyTree
from funcnet.data._batches import Chunk, PaddedBatch
from funcnet.data._dataset import Dataset


class BatchStream:
    """Batches from an iterator, in its own order, as returned by `Stream.from_batches`.

    Args:
        factory: called before each epoch; returns a new iterable of batches, pytrees of arrays [rows, ...].
        num_batches: the number of batches in an epoch.
        prefetch: the number of batches to read in advance, at least 1.

    Raises:
        TypeError: if `factory` can't be called.
        ValueError: if `num_batches` or `prefetch` is below 1; in training, if an epoch ends early, or
            `factory` returns the same iterator again.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> stream = fn.data.Stream.from_batches(lambda: (np.full(4, i) for i in range(3)), num_batches=3)
        >>> len(stream.first(2)), stream.steps_per_epoch(4)
        (2, 3)
    """

    def __init__(
        self, factory: Callable[[], Iterable[PyTree]], num_batches: int, *, prefetch: int = 2
    ) -> None:
        _check.function("factory", factory, "a function () -> iterable of batches")
        _check.positive("num_batches", num_batches)
        _check.positive("prefetch", prefetch)
        self.factory, self.num_batches, self.prefetch = factory, num_batches, prefetch
        self._first_batch: PyTree = None
        self._last_iterator: Callable[[], Any] = lambda: None

    def first(self, rows: int) -> Dataset:
        """The first rows of the first batch, as a Dataset."""
        if self._first_batch is None:
            batch = next(iter(self._new_iterable()), None)
            if batch is None:
                raise ValueError("this stream has no batches: `factory` returned an empty iterable.")
            self._first_batch = jax.tree.map(np.asarray, batch)
        return Dataset(jax.tree.map(lambda a: a[:rows], self._first_batch))

    def fingerprint(self) -> str:
        """A string that differs for other data: computed from the shapes and the first batch."""
        first = self.first(2**31)
        digest = hashlib.sha256()
        for path, leaf in _tree.paths(first.arrays).items():
            digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
        return f"{self.num_batches} batches, the first with sha256 {digest.hexdigest()[:16]}"

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches in an epoch, which here does not depend on `batch_size`."""
        return self.num_batches

    def chunks(
        self, key: Key | None, epoch: int, first: int, last: int, batch_size: int
    ) -> Iterator[Chunk]:
        """Batches `first` to `last` of an epoch, `last` excluded; earlier ones are read and skipped."""
        count = 0
        for count, batch in enumerate(itertools.islice(self._new_iterable(), last), 1):
            padded = _pad(batch, batch_size, is_last=count == self.num_batches)
            if count > first:
                yield Chunk(epoch, count - 1, 1, padded)
        if count < last:
            raise ValueError(
                f"the stream ended after {count} of {self.num_batches} batches of epoch {epoch}. "
                "Pass the number of its batches: fn.data.Stream.from_batches(factory, num_batches)."
            )

    def _new_iterable(self) -> Iterable[PyTree]:
        """Call `factory`, and check that it does not return an iterator that has been used already."""
        iterable = self.factory()
        if isinstance(iterable, Iterator):
            if iterable is self._last_iterator():
                raise ValueError(
                    f"factory must return a new iterable each time, got the same {type(iterable).__name__} "
                    "again, which can be read only once. Try factory=lambda: iter(loader)."
                )
            try:  # a weak reference if possible: the iterator may hold processes and memory
                self._last_iterator = weakref.ref(iterable)
            except TypeError:
                self._last_iterator = lambda: iterable
        return iterable


def _pad(batch: PyTree, batch_size: int, is_last: bool) -> PaddedBatch:
    """The only batch of a chunk, padded to `batch_size` with copies of its last row."""
    batch = jax.tree.map(np.asarray, batch)
    lengths = {len(leaf) for leaf in jax.tree.leaves(batch)}
    n = min(lengths)
    if len(lengths) > 1:
        raise ValueError(
            f"the arrays of a batch must have the same number of rows, got {sorted(lengths)} rows."
        )
    if not (n == batch_size or (is_last and 1 <= n < batch_size)):
        raise ValueError(
            f"all batches but the last must have {batch_size} rows, as the first, got {n} rows. "
            "Drop or merge shorter batches in the loader."
        )
    rows = np.minimum(np.arange(batch_size), n - 1)
    return PaddedBatch(
        jax.tree.map(lambda a: a[rows][None], batch), jnp.asarray(np.arange(batch_size) < n, float)[None]
    )

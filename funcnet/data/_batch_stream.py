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
from funcnet.data._dataset import Dataset, narrow, to_arrays


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
        _check.takes("factory", factory, "a function () -> iterable of batches")
        num_batches = _check.positive("num_batches", num_batches)
        num_batches = _check.between("num_batches", num_batches, 1, 2**31)
        prefetch = _check.positive("prefetch", prefetch)
        self.factory, self.num_batches, self.prefetch = factory, num_batches, prefetch
        self._first_batch: PyTree = None
        self._last_iterator: Callable[[], Any] = lambda: None

    def first(self, rows: int) -> Dataset:
        """The first rows of the first batch, as a Dataset."""
        rows = _check.positive("rows", rows)
        if self._first_batch is None:
            batch = next(iter(self._new_iterable()), None)
            if batch is None:
                raise ValueError("this stream has no batches: `factory` returned an empty iterable.")
            self._first_batch = _to_numpy(batch)
        return Dataset(jax.tree.map(lambda a: a[:rows], self._first_batch))

    def fingerprint(self) -> str:
        """A string that differs if the first batch does: the others are compared as they are read."""
        self.first(1)
        return f"{self.num_batches} batches, the first with sha256 {digest(self._first_batch)}"

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches in an epoch, which here does not depend on `batch_size`."""
        return self.num_batches

    def chunks(
        self,
        key: Key | None,
        epoch: int,
        first: int,
        last: int,
        batch_size: int,
        compare: Callable[[int, str], None] | None = None,
    ) -> Iterator[Chunk]:
        """Batches `first` to `last` of an epoch, `last` excluded; earlier ones are read and skipped.

        `compare` is called with the number and the digest of each batch, those that are skipped included.
        """
        count = 0
        for count, batch in enumerate(itertools.islice(self._new_iterable(), last), 1):
            batch = _to_numpy(batch)
            self._check_like_first(batch, count - 1)
            batch_digest = None if compare is None else digest(batch)
            if compare is not None and batch_digest is not None:
                compare(count - 1, batch_digest)
            padded = _pad(narrow(batch, "batch"), batch_size, is_last=count == self.num_batches)
            if count > first:
                yield Chunk(epoch, count - 1, 1, padded, batch_digest)
        if count < last:
            raise ValueError(
                f"the stream ended after {count} of {self.num_batches} batches of epoch {epoch}. "
                "Pass the number of its batches: fn.data.Stream.from_batches(factory, num_batches)."
            )

    def _check_like_first(self, batch: PyTree, number: int) -> None:
        """Check that a batch has the structure, dtypes and shapes of the first, apart from its rows."""
        if self._first_batch is None:
            self._first_batch = batch

        def describe(batch: PyTree) -> dict[str, str]:
            return {p: f"{leaf.dtype} [rows, {leaf.shape[1:]}]" for p, leaf in _tree.paths(batch).items()}

        if describe(batch) != describe(self._first_batch):
            raise ValueError(
                f"all batches must have the arrays of the first, {describe(self._first_batch)}, got "
                f"{describe(batch)} in batch {number}."
            )

    def _new_iterable(self) -> Iterable[PyTree]:
        """Call `factory`, and check that it does not return an iterator that has been used already."""
        iterable: Any = self.factory()
        is_scalar = hasattr(iterable, "dtype") and iterable.ndim == 0
        if not isinstance(iterable, Iterable) or isinstance(iterable, str | bytes | dict) or is_scalar:
            raise TypeError(
                f"factory must return an iterable of batches, got {_check.describe(iterable)}. "
                "Try factory=lambda: iter(loader)."
            )
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


def digest(batch: PyTree) -> str:
    """A digest of 64 bits of all bytes, shapes and dtypes of a batch."""
    sha = hashlib.sha256()
    for path, leaf in _tree.paths(batch).items():
        sha.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        sha.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()[:16]


def _to_numpy(batch: PyTree) -> PyTree:
    arrays = to_arrays(batch, "batch")
    if any(map(_tree.is_key, jax.tree.leaves(arrays))):
        raise TypeError("a batch must hold arrays of numbers, got keys. Pass jax.random.key_data(keys).")
    arrays = jax.tree.map(np.asarray, arrays)
    if not jax.tree.leaves(arrays) or not all(leaf.ndim for leaf in jax.tree.leaves(arrays)):
        raise ValueError(f"a batch must hold arrays [rows, ...], got {_check.describe(batch)}.")
    return arrays


def _pad(batch: PyTree, batch_size: int, is_last: bool) -> PaddedBatch:
    """The only batch of a chunk, padded to `batch_size` with copies of its last row."""
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

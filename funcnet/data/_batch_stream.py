"""Batches from somebody else's iterator, for a `Trainer`."""

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
from funcnet.data._batches import Gathered, Piece
from funcnet.data._dataset import Dataset


class BatchStream:
    """Batches from an iterator, in its own order; `Stream.from_batches` makes it.

    Args:
        factory: called before each epoch: a fresh iterable of its batches, pytrees of arrays [rows, ...].
        num_batches: batches in an epoch.
        prefetch: batches that are read before they are wanted, at least 1.

    Raises:
        TypeError: if `factory` can't be called.
        ValueError: if `num_batches` or `prefetch` is below 1; in training, if an epoch ends early, or
            `factory` returns the same iterator again.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> stream = fn.data.Stream.from_batches(lambda: (np.full(4, i) for i in range(3)), num_batches=3)
        >>> len(stream.first(2)), stream.per_epoch(4)
        (2, 3)
    """

    def __init__(
        self, factory: Callable[[], Iterable[PyTree]], num_batches: int, *, prefetch: int = 2
    ) -> None:
        _check.function("factory", factory, "() -> an iterable of batches")
        _check.positive("num_batches", num_batches)
        _check.positive("prefetch", prefetch)
        self.factory, self.num_batches, self.prefetch = factory, num_batches, prefetch
        self._like: PyTree = None
        self._made: Callable[[], Any] = lambda: None

    def first(self, rows: int) -> Dataset:
        """The first rows of the first batch, as a Dataset."""
        if self._like is None:
            batch = next(iter(self._fresh()), None)
            if batch is None:
                raise ValueError("this stream has no batches: what `factory` returned is empty.")
            self._like = jax.tree.map(np.asarray, batch)
        return Dataset(jax.tree.map(lambda a: a[:rows], self._like))

    def fingerprint(self) -> str:
        """What tells this data from other data: its shapes and its first batch."""
        first = self.first(2**31)
        digest = hashlib.sha256()
        for path, leaf in _tree.paths(first.arrays).items():
            digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode() + np.asarray(leaf).tobytes())
        return f"{self.num_batches} batches, the first with sha256 {digest.hexdigest()[:16]}"

    def per_epoch(self, size: int) -> int:
        """Batches in an epoch."""
        return self.num_batches

    def pieces(self, key: Key | None, epoch: int, first: int, last: int, size: int) -> Iterator[Piece]:
        """An epoch from batch `first` to batch `last`; the batches before it are read and left out."""
        number = 0
        for number, batch in enumerate(itertools.islice(self._fresh(), last), 1):
            filled = _filled(batch, size, last=number == self.num_batches)
            if number > first:
                yield Piece(epoch, number - 1, 1, filled)
        if number < last:
            raise ValueError(
                f"the stream ended after {number} of {self.num_batches} batches of epoch {epoch}. "
                "Pass the number that it has: fn.data.Stream.from_batches(factory, num_batches)."
            )

    def _fresh(self) -> Iterable[PyTree]:
        """What `factory` returns: an iterator only once, for its batches are gone then."""
        made = self.factory()
        if isinstance(made, Iterator):
            if made is self._made():
                raise ValueError(
                    f"factory returned the very same {type(made).__name__} again, whose batches can be had "
                    "once: it must return a fresh iterable each time. Try factory=lambda: iter(loader)."
                )
            try:  # kept alive only where it can't be told otherwise: it may hold processes and memory
                self._made = weakref.ref(made)
            except TypeError:
                self._made = lambda: made
        return made


def _filled(batch: PyTree, rows: int, last: bool) -> Gathered:
    """A batch as the only one of a piece, with copies of its last row up to `rows`."""
    batch = jax.tree.map(np.asarray, batch)
    lengths = {len(leaf) for leaf in jax.tree.leaves(batch)}
    found = min(lengths)
    if len(lengths) > 1:
        raise ValueError(f"the arrays of a batch have as many rows as each other; got {sorted(lengths)}.")
    if not (found == rows or (last and 1 <= found < rows)):
        raise ValueError(
            f"a batch of {found} rows came, and the first one had {rows}: only the last may be shorter."
        )
    number = np.minimum(np.arange(rows), found - 1)
    return Gathered(
        jax.tree.map(lambda a: a[number][None], batch), jnp.asarray(np.arange(rows) < found, float)[None]
    )

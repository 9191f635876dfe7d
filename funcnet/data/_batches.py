"""Minibatches of one fixed size: the last one padded and masked, never dropped."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _check, _mesh, _tree
from funcnet._types import Array, Float, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.data._shuffle import Shuffle, epoch_order


@_tree.node
class Batch:
    """Some examples and how much each counts.

    Args:
        example: the dataset's pytree with a leading axis [batch, ...].
        weight: [batch]; zero for padding, which counts nowhere.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> *_, last = fn.data.batches((jnp.arange(5.0), jnp.arange(5)), batch_size=2)
        >>> last.weight.tolist()
        [1.0, 0.0]
    """

    example: PyTree
    weight: Float[Array, " batch"]

    @property
    def total_weight(self) -> Float[Array, ""]:
        """The sum of the weights."""
        return jnp.sum(self.weight)


@_tree.node
class Gathered(Batch):
    """A batch in which every row of weight zero is a copy of a row that counts.

    Such a row may hold anything in the data; a loss that overflows on it would make 0 · inf of its
    gradient.

    Args:
        known: the sum of the weights, where it was known before they were; two small operations less in
            each step.
    """

    known: Float[Array, ""] | None = None

    @property
    def total_weight(self) -> Float[Array, ""]:
        return jnp.sum(self.weight) if self.known is None else self.known

    @staticmethod
    def of(batch: Batch) -> "Gathered":
        """The same batch, with its rows of weight zero replaced."""
        counts = batch.weight > 0
        first = jnp.argmax(counts)

        def covered(a: Array) -> Array:
            mask = jnp.broadcast_to(counts.reshape(-1, *[1] * (a.ndim - 1)), a.shape)
            return jnp.where(mask, a, jnp.broadcast_to(a[first], a.shape))

        return Gathered(jax.tree.map(covered, batch.example), batch.weight)


class Rows(NamedTuple):
    """Row numbers of batches, whether each counts, [count, size], and how many do, [count]."""

    row: Array
    mask: Array
    mass: Array


class Piece(NamedTuple):
    """Some batches of an epoch, one after another: the first `length` of [batches, rows, ...]."""

    epoch: int
    first: int
    length: int
    batches: Gathered


def batches(data: PyTree, batch_size: int = 32, key: Key | None = None, epoch: int = 0) -> Iterator[Batch]:
    """The minibatches of one epoch, exactly those that `fit` sees with the same key.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        batch_size: rows in a batch, at least 1. Every batch has as many; the last is padded with
            rows of weight 0.
        key: the key that `fit` was given; None for the order of the rows (`shuffle=False`).
        epoch: the number of the epoch, from 0: each has an order of its own.

    Returns:
        An iterator of ceil(n / batch_size) batches. Each row occurs once.

    Raises:
        TypeError: if `key` is no typed key, or `batch_size` no whole number.
        ValueError: if `batch_size` is below 1, `epoch` below 0, or the data is not a Dataset's.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> rows = jnp.arange(5)
        >>> [b.example[0].tolist() for b in fn.data.batches((rows,), 2)]
        [[0, 1], [2, 3], [4, 4]]
        >>> seen = [b.example[0][b.weight > 0] for b in fn.data.batches((rows,), 2, jax.random.key(7))]
        >>> sorted(jnp.concatenate(seen).tolist())
        [0, 1, 2, 3, 4]
    """
    _check.positive("batch_size", batch_size)
    data = as_dataset(data)
    if key is not None:
        _check.key(key)
    _check.between("epoch", epoch, 0, float("inf"))
    order = None if key is None else epoch_order(key, epoch, len(data))
    size = min(batch_size, len(data))
    return (_batch(data, order, size, i) for i in range(steps(len(data), size)))


def steps(rows: int, batch_size: int) -> int:
    """The number of batches in an epoch."""
    return -(-rows // batch_size)


def epoch_rows(
    n: int, order: Shuffle | None, size: int, first: Array | int = 0, count: int | None = None
) -> Rows:
    """The rows of `count` batches of an epoch from batch `first`.

    Whole epochs by default: 5 bytes a row, computed at once. Inside a step the shuffle would be
    fused into the gather and computed anew for every column.
    """
    count = steps(n, size) if count is None else count
    position = first * size + jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)
    row, mask = jnp.minimum(position, n - 1), position < n
    if n % size == 0:  # what the compiler can't see: there is nothing to fill up
        mask = jnp.ones_like(mask)
    return Rows(row if order is None else order(row), mask, jnp.sum(mask, axis=1).astype(float))


def gather(data: Dataset, row: Array, mask: Array, mass: Array | None = None) -> Gathered:
    """The examples in these rows of `data`, counted where the mask holds; `mass`, if known, is how many."""

    def at(a: Array) -> Array:
        return a.at[row].get(mode="promise_in_bounds")

    row = row if data.rows is None else at(data.rows)
    weight = mask.astype(float)
    if data.weight is not None:
        weight *= at(data.weight)
        row = jnp.where(weight > 0, row, row[jnp.argmax(weight > 0)])
    example, weight = _mesh.shard_rows((jax.tree.map(at, data.arrays), weight))
    return Gathered(example, weight, mass if data.weight is None else None)


def batch_of(data: Dataset, order: Shuffle | None, size: int, number: Array | int = 0) -> Gathered:
    """One batch of an epoch, by its number."""
    row, mask, _ = epoch_rows(len(data), order, size, number, 1)
    return gather(data, row[0], mask[0])


_batch = jax.jit(batch_of, static_argnums=2)

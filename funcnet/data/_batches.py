"""Minibatches of one fixed size: the last one is padded and masked, never dropped."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Never

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _mesh, _tree
from funcnet._jit import bounded_jit
from funcnet._metric import promote_to_float32
from funcnet._types import Array, Float, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset, narrow, to_arrays
from funcnet.data._shuffle import Shuffle, epoch_order


@_tree.node
class Batch:
    """Some examples and their weights.

    Args:
        example: the dataset's pytree with a leading axis [batch, ...].
        weight: [batch]; zero for padding, which is ignored everywhere.

    Raises:
        ValueError: if the shape of the weights is not that of the rows.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> *_, last = fn.data.batches((jnp.arange(5.0), jnp.arange(5)), batch_size=2)
        >>> last.weight.tolist()
        [1.0, 0.0]
    """

    example: PyTree
    weight: Float[Array, " batch"]

    def __post_init__(self) -> None:
        weight: Any = self.weight
        example = self.example
        weight = _check.array("weight", weight)
        if not isinstance(weight, jax.Array):
            _check.finite("weight", weight)
            _check.fits_float32("weight", weight)
            if weight.ndim == 0:
                raise ValueError(
                    "weight must have one number for each row of example, got a single number."
                )
            if (weight < 0).any():
                raise ValueError(f"weight must be at least 0, got {weight.min()}.")
            _check.weights_in_range(weight)
            object.__setattr__(self, "weight", jnp.asarray(weight, float))
        else:  # 256 weights of 256 are infinite in float16, and 257 of 1 are 256 in bfloat16
            if _tree.is_concrete(weight) and (np.asarray(weight) < 0).any():
                raise ValueError(f"weight must be at least 0, got {weight.min()}.")
            object.__setattr__(self, "weight", promote_to_float32(weight))
        if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(example)):
            arrays = jax.tree.map(jnp.asarray, narrow(to_arrays(example, "example"), "example"))
            object.__setattr__(self, "example", arrays)
        self._check_shapes()

    def __iter__(self) -> Never:
        raise TypeError(
            "a Batch holds an example and weights. Write x, y = batch.example; weight = batch.weight."
        )

    def _check_shapes(self) -> None:
        shape = jnp.shape(self.weight)
        for path, leaf in _tree.paths(self.example).items():
            if jnp.shape(leaf)[: len(shape)] != shape:
                raise ValueError(
                    f"weight must have one number for each row of example{path}, got shape {shape} for an "
                    f"array of shape {jnp.shape(leaf)}."
                )

    @property
    def total_weight(self) -> Float[Array, ""]:
        """The sum of the weights."""
        return jnp.sum(self.weight)


@_tree.node
class PaddedBatch(Batch):
    """A batch in which every row of weight zero is a copy of a row with a positive weight.

    In the data, a row of weight zero may hold any values. If the loss overflowed on them, its gradient
    would be 0 · inf = NaN.

    Args:
        known_total_weight: the sum of the weights if it was computed beforehand, which saves two small
            operations in each step.
    """

    known_total_weight: Float[Array, ""] | None = None

    def __post_init__(self) -> None:  # its arrays are those of a Dataset, a stream or a Batch
        self._check_shapes()

    @property
    def total_weight(self) -> Float[Array, ""]:
        return jnp.sum(self.weight) if self.known_total_weight is None else self.known_total_weight

    def first(self, rows: int) -> "PaddedBatch":
        """The first rows; all that are not padding."""
        example, weight = jax.tree.map(lambda a: a[:rows], (self.example, self.weight))
        return PaddedBatch(example, weight, self.known_total_weight)

    def without_padding(self) -> "FullBatch | PaddedBatch":
        """The rows up to the last with a positive weight, which must be concrete."""
        counts = np.flatnonzero(np.asarray(self.weight) > 0)
        rows = int(counts[-1]) + 1 if len(counts) else len(self.weight)
        kind = FullBatch if len(counts) == rows else PaddedBatch
        example, weight = jax.tree.map(lambda a: a[:rows], (self.example, self.weight))
        return kind(example, weight, self.known_total_weight)

    @staticmethod
    def from_batch(batch: Batch) -> "PaddedBatch":
        """The same batch, with its rows of weight zero replaced."""
        counts = batch.weight > 0
        first = jnp.argmax(counts)

        def replace_rows(a: Array) -> Array:
            mask = jnp.broadcast_to(counts.reshape(-1, *[1] * (a.ndim - 1)), a.shape)
            return jnp.where(mask, a, jnp.broadcast_to(a[first], a.shape))

        return PaddedBatch(jax.tree.map(replace_rows, batch.example), batch.weight)


@_tree.node
class FullBatch(PaddedBatch):
    """A batch in which every row has a positive weight, which a step knows without reading them."""


class Rows(NamedTuple):
    """The rows of some batches.

    Args:
        row: row numbers [batches, batch].
        mask: False for padding [batches, batch].
        total_weight: the number of rows that are not padding [batches].
    """

    row: Array
    mask: Array
    total_weight: Array


class Chunk(NamedTuple):
    """Some consecutive batches of an epoch.

    Args:
        epoch: the number of the epoch.
        first: the number of the first batch.
        length: the number of batches; `batches` may have more, which are not used.
        batches: a PaddedBatch with a leading axis, [batches, batch, ...].
        digest: of the bytes of a single batch that came from an iterator, if they are compared.
    """

    epoch: int
    first: int
    length: int
    batches: PaddedBatch
    digest: str | None = None


@_check.usage("for batch in fn.data.batches((x, y), batch_size=32, key=key): x, y = batch.example")
def batches(
    data: PyTree, batch_size: int = 32, key: Key | None = None, epoch: int = 0, *, pad: bool = True
) -> Iterator[PaddedBatch]:
    """The minibatches of one epoch, the same as in `fit` with the same key.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        batch_size: rows in a batch, at least 1. All batches have the same size; the last is padded with
            rows of weight 0.
        key: the key passed to `fit`; None for the order of the rows (`shuffle=False`).
        epoch: the number of the epoch, from 0: each epoch has its own order.
        pad: if False, the last batch has its true size, and a jitted step is compiled once more for it.
            `fn.step` needs that for networks of other libraries with a state, as `fit` does by itself.

    Returns:
        An iterator of ceil(n / batch_size) batches. Each row occurs once.

    Raises:
        TypeError: if `key` is not a typed key, or `batch_size` not an integer.
        ValueError: if `batch_size` is below 1, `epoch` below 0, or the data is not valid for a Dataset.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> rows = jnp.arange(5)
        >>> [b.example[0].tolist() for b in fn.data.batches((rows,), 2)]
        [[0, 1], [2, 3], [4, 4]]
        >>> shuffled = [b.example[0][b.weight > 0] for b in fn.data.batches((rows,), 2, jax.random.key(7))]
        >>> sorted(jnp.concatenate(shuffled).tolist())
        [0, 1, 2, 3, 4]
    """
    batch_size = _check.positive("batch_size", batch_size)
    data = as_dataset(data)
    if key is not None:
        _check.key(key)
    epoch = _check.integer("epoch", epoch)
    epoch = _check.between("epoch", epoch, 0, 2**31)
    order = None if key is None else epoch_order(key, epoch, len(data))
    size = min(batch_size, len(data))
    _check.boolean("pad", pad)
    made = (_jitted_batch_of(data, order, size, i) for i in range(num_batches(len(data), size)))
    left = len(data) % size
    if pad and (left or data.weight is not None):
        return made
    weight = np.ones(1) if data.weight is None else data.weight
    kind = FullBatch if _tree.is_concrete(weight) and (np.asarray(weight) > 0).all() else PaddedBatch
    last = num_batches(len(data), size) - 1 if left else -1
    cut = (batch.first(left) if number == last else batch for number, batch in enumerate(made))
    return (kind(batch.example, batch.weight, batch.known_total_weight) for batch in cut)


def num_batches(n: int, batch_size: int) -> int:
    """The number of batches in an epoch of n rows."""
    return -(-n // batch_size)


def epoch_rows(
    n: int, order: Shuffle | None, batch_size: int, first: Array | int = 0, count: int | None = None
) -> Rows:
    """The rows of `count` batches of an epoch, starting with batch `first`; by default of all batches.

    They are computed before the steps, 5 bytes a row: inside a step XLA would fuse the shuffle into the
    gather and compute it again for every column.
    """
    count = num_batches(n, batch_size) if count is None else count
    position = first * batch_size + jnp.arange(count * batch_size, dtype=jnp.int32).reshape(
        count, batch_size
    )
    row, mask = jnp.minimum(position, n - 1), position < n
    if n % batch_size == 0:  # the compiler can't infer that there is no padding
        mask = jnp.ones_like(mask)
    return Rows(row if order is None else order(row), mask, jnp.sum(mask, axis=1).astype(float))


def gather(data: Dataset, row: Array, mask: Array, total_weight: Array | None = None) -> PaddedBatch:
    """The batch of some rows of `data`, with weight 0 where the mask is False.

    `total_weight` is the sum of the mask, if known; it is not used if the dataset has weights.
    """

    def take_rows(a: Array) -> Array:
        return a.at[row].get(mode="promise_in_bounds")

    row = row if data.rows is None else take_rows(data.rows)
    weight = mask.astype(float)
    if data.weight is not None:
        weight *= take_rows(data.weight)
        row = jnp.where(weight > 0, row, row[jnp.argmax(weight > 0)])
    example, weight = _mesh.shard_rows((jax.tree.map(take_rows, data.arrays), weight))
    return PaddedBatch(example, weight, total_weight if data.weight is None else None)


def batch_of(data: Dataset, order: Shuffle | None, batch_size: int, number: Array | int = 0) -> PaddedBatch:
    """One batch of an epoch, by its number."""
    row, mask, _ = epoch_rows(len(data), order, batch_size, number, 1)
    return gather(data, row[0], mask[0])


_jitted_batch_of = bounded_jit(batch_of, static_argnums=2)

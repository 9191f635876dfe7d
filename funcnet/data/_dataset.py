"""The dataset: arrays that share a leading axis, with weights and a view of rows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, Float, Int, PyTree


@_tree.node
class Dataset:
    """Examples as a pytree of arrays that share a leading axis.

    A Dataset is a pytree, so `vmap` can map over `rows` (folds, bootstraps) while the arrays stay shared:
    `jax.vmap(lambda rows, key: train(model, Dataset(arrays, rows=rows), key))(rows, keys)`.

    Args:
        arrays: a pytree of arrays [rows, ...], usually the pair (x, y).
        weight: the weight of each row in every mean, [rows], at least 0; 1 each by default. A row of
            weight 0 may hold any values: it is never used, so a derivative with respect to a weight of
            exactly 0 does not depend on its row. To learn weights, start above 0.
        rows: row numbers, int32 [n]: the examples are these rows, in this order, and may repeat.

    Raises:
        TypeError: if an array holds text or objects.
        ValueError: if there is no array or no row, lengths differ, a value is not finite, a weight is
            negative or not of shape [rows], or row numbers are out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> data = fn.data.Dataset((jnp.arange(6.0).reshape(3, 2), jnp.array([0, 1, 0])))
        >>> len(data), len(fn.data.take(data, [0, 0, 2, 1]))
        (3, 4)
        >>> x, y = data[1]
        >>> x.tolist(), int(y)
        ([2.0, 3.0], 1)
    """

    arrays: PyTree
    weight: Float[Array, " rows"] | None = dataclasses.field(default=None, kw_only=True)
    rows: Int[Array, " n"] | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for path, part in _lists(self.arrays).items():
            _check.not_a_list(f"data{path}", part)
        for path, leaf in _tree.paths(self.arrays).items():
            _check.numeric(f"data{path}", leaf)
        object.__setattr__(self, "arrays", jax.tree.map(jnp.asarray, self.arrays))
        if self.weight is not None:
            _check.weight_type(self.weight)
            object.__setattr__(self, "weight", jnp.asarray(self.weight, float))
        if self.rows is not None:
            _check.row_dtype(self.rows)
            _check.fits_int32("rows", self.rows, "Row numbers start at 0.")
            object.__setattr__(self, "rows", jnp.asarray(self.rows, jnp.int32))
        _check_lengths(self)
        _check_values(self)

    def __len__(self) -> int:
        if self.rows is not None:
            return int(self.rows.shape[-1])
        return int(jax.tree.leaves(self.arrays)[0].shape[0])

    def __getitem__(self, position: Any) -> PyTree:
        """The example at a position; for a slice or an array, the examples, with a leading axis."""
        if not isinstance(position, slice) and _tree.is_concrete(position):
            # JAX would return the last row, and a loop over the dataset would never end.
            index = np.asarray(position)
            positions = index.ravel() if index.dtype.kind in "iu" else np.zeros(0, int)
            outside = positions[(positions < -len(self)) | (positions >= len(self))]
            if outside.size:
                raise IndexError(
                    f"a position must be at least {-len(self)} and below {len(self)}, got {outside[0]}."
                )
        return jax.tree.map(lambda a: a[self._rows_at(position)], self.arrays)

    def _rows_at(self, position: Any) -> Any:
        """The row numbers of some positions."""
        return position if self.rows is None else self.rows[position]

    @staticmethod
    def axes(arrays: Any = None, weight: int | None = None, rows: int | None = None) -> Any:
        """The `in_axes` or `out_axes` of `jax.vmap` for Datasets that share parts and differ in others.

        Args:
            arrays: the axis to map over in the arrays; None if all members share them.
            weight: the axis in the weights.
            rows: the axis in the row numbers: 0 for folds and for bootstrap samples.

        Returns:
            A pytree with the structure of a Dataset.

        Example:
            >>> import jax, jax.numpy as jnp, funcnet as fn
            >>> folds = fn.data.kfold((jnp.arange(6.0),), 3, jax.random.key(0))
            >>> mean = lambda data: data[:][0].mean()
            >>> jax.vmap(mean, in_axes=(fn.data.Dataset.axes(rows=0),))(folds.train).shape
            (3,)
        """
        tree = object.__new__(Dataset)
        for name, axis in (("arrays", arrays), ("weight", weight), ("rows", rows)):
            object.__setattr__(tree, name, axis)
        return tree

    def weights(self) -> Float[Array, " n"]:
        """The weight of each example, [len(self)]; ones by default."""
        if self.weight is None:
            return jnp.ones(len(self))
        return self.weight if self.rows is None else self.weight[self.rows]


def as_dataset(data: PyTree) -> Dataset:
    """Return `data` if it is a Dataset, else the Dataset of a tuple (or other pytree) of arrays."""
    if hasattr(data, "chunks"):
        raise TypeError(
            f"data must be in memory, got a {type(data).__name__}, which only a Trainer accepts: "
            "fn.Trainer(train)(model, stream, key)."
        )
    return data if isinstance(data, Dataset) else Dataset(data)


def take(data: PyTree, rows: Any) -> Dataset:
    """A view of some examples, in the given order; the arrays are shared, not copied.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        rows: positions in `data`, integers [m] in 0 .. n-1, which may repeat.

    Returns:
        A Dataset of m examples.

    Raises:
        TypeError: if positions are not integers.
        ValueError: if a position is not in 0 .. n-1, or there is none.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x, y = fn.data.take((jnp.arange(3.0), jnp.arange(3)), [2, 0])[:]
        >>> x.tolist()
        [2.0, 0.0]
    """
    data = as_dataset(data)
    _check.row_dtype(rows)
    if _tree.is_concrete(rows):
        _check.row_numbers(rows, len(data))
    position = jnp.asarray(rows, jnp.int32)
    return Dataset(data.arrays, weight=data.weight, rows=data._rows_at(position))


def _lists(arrays: PyTree) -> dict[str, Any]:
    """The tree itself and the lists in it, by path."""
    return {"": arrays} | _tree.paths(
        arrays, is_leaf=lambda node: node is not arrays and isinstance(node, list)
    )


def _check_lengths(data: Dataset) -> None:
    leaves = _tree.paths(data.arrays)
    if not leaves:
        raise ValueError("a dataset must hold at least one array, got none. Try Dataset((x, y)).")
    shapes = {path or "data": leaf.shape for path, leaf in leaves.items()}
    if any(not shape for shape in shapes.values()):
        raise ValueError(f"every array must have a leading axis of rows, got shapes {shapes}.")
    lengths = {path: shape[0] for path, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path} has {n}" for path, n in lengths.items())
        raise ValueError(f"all arrays must have the same number of rows, got: {listed}.")
    num_rows = next(iter(lengths.values()))
    if num_rows == 0 or (data.rows is not None and data.rows.shape[-1:] == (0,)):
        raise ValueError("the table is empty: a dataset must have at least one row, got 0.")
    if data.weight is not None and data.weight.shape != (num_rows,):
        raise ValueError(
            f"weight must be one number for each of the {num_rows} rows, got shape {data.weight.shape}. "
            "Try weight=jnp.ones(len(x))."
        )


def _check_values(data: Dataset) -> None:
    for path, leaf in _tree.paths(data.arrays).items():
        if _tree.is_concrete(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating):
            # numpy compiles nothing; on another device a reduction is cheaper than a copy to the host.
            on_host = all(device.platform == "cpu" for device in leaf.devices())
            values: Any = np.asarray(leaf) if on_host else leaf
            if not (np if on_host else jnp).isfinite(values).all():
                _check.finite(f"data{path}", np.asarray(leaf))
    if data.weight is not None and _tree.is_concrete(data.weight):
        _check.weights(np.asarray(data.weight))
    if data.rows is not None and _tree.is_concrete(data.rows):
        _check.row_numbers(data.rows, jax.tree.leaves(data.arrays)[0].shape[0])

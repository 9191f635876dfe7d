"""The dataset: arrays that share a leading axis, with weights and a view of rows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _parts, _processes, _tree
from funcnet._types import Array, Float, Int, PyTree

ADVICE_ON_INTEGERS = (
    "Number labels from 0: classes, y = np.unique(y, return_inverse=True). Of features subtract the "
    "smallest, x - x.min(axis=0), or scale them: x = fn.data.Scaler.fit(x).transform(x)."
)


@_check.usage("fn.data.Dataset((x, y))")
@_tree.node
class Dataset:
    """Examples as a pytree of arrays that share a leading axis.

    A Dataset is a pytree, so `vmap` can map over `rows` (folds, bootstraps) while the arrays stay shared:
    `jax.vmap(lambda rows, key: train(model, Dataset(arrays, rows=rows), key))(rows, keys)`.

    Arrays may be NumPy's, JAX's, pandas and polars tables and columns, PyTorch tensors on the CPU, or
    lists of numbers. JAX narrows float64 to float32 unless jax_enable_x64 is set. A column that would lose
    digits that scaling first would keep, such as times in seconds since 1970, is refused:
    `Scaler.fit(x).transform(x)` scales it in float64 and narrows it afterwards.

    Args:
        arrays: a pytree of arrays [rows, ...], usually the pair (x, y). A list of numbers, or of lists of
            numbers, is one array; a list of arrays is a pytree, as a tuple is.
        weight: the weight of each row in every mean, [rows], at least 0; 1 each by default. A row of
            weight 0 may hold any values: it is never used, so a derivative with respect to a weight of
            exactly 0 does not depend on its row. To learn weights, start above 0.
        rows: row numbers, int32 [n]: the examples are these rows, in this order, and may repeat.

    Raises:
        TypeError: if an array holds text or objects.
        ValueError: if there is no array or no row, lengths differ, a value is not finite or does not fit
            in 32 bits, more than 1 % of the distinct values of a column would become equal in float32, a
            weight is negative or not of shape [rows], or row numbers are out of range.

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
        self._set("data")

    def _set(self, name: str) -> None:
        """Make arrays of the fields, and check them; sentences call the arrays `name`."""
        given = to_arrays(self.arrays, name)
        for path, leaf in _tree.paths(given).items():
            _check.fits_int32(f"{name}{path}", leaf, ADVICE_ON_INTEGERS)
        with np.errstate(over="ignore"):  # refused below, by value and place
            object.__setattr__(self, "arrays", jax.tree.map(_tree.to_device, given))
        if self.weight is not None:
            _check.weight_type(self.weight)
            weight = _check.array("weight", self.weight)
            if not isinstance(weight, jax.Array):
                _check.finite("weight", weight)
                _check.fits_float32("weight", weight)
            if _tree.is_concrete(weight):
                _check.weights_in_range(_own_part(weight))
            object.__setattr__(self, "weight", jnp.asarray(weight, float))
        if self.rows is not None:
            object.__setattr__(self, "rows", _row_numbers(self.rows))
        _check_lengths(self, name)
        _check_values(self, given, name)

    def __repr__(self) -> str:
        """Shapes, not numbers."""
        parts = [
            jax.tree.map(
                lambda a: _Name(_tree.dtype_and_shape(a) if hasattr(a, "shape") else repr(a)), tree
            )
            for tree in (self.arrays, self.weight, self.rows)
        ]
        names = ("weight", "rows")
        more = [f"{name}={part}" for name, part in zip(names, parts[1:], strict=True) if part is not None]
        return f"Dataset({', '.join([repr(parts[0]), *more])})"

    def __len__(self) -> int:
        if self.rows is not None:
            return int(self.rows.shape[-1])
        return int(jax.tree.leaves(self.arrays)[0].shape[0])

    def __getitem__(self, position: Any) -> PyTree:
        """The example at a position; for a slice or an array, the examples, with a leading axis."""
        if not isinstance(position, slice):
            position = self._check_position(position)
        return jax.tree.map(lambda a: a[self._rows_at(position)], self.arrays)

    def _check_position(self, position: Any) -> Any:
        index = _check.array("position", position)
        is_mask = index.dtype == bool
        if not (is_mask or jnp.issubdtype(index.dtype, jnp.integer)) and index.size:
            raise TypeError(f"position must hold integers or be a slice, got {_check.describe(position)}.")
        if is_mask and index.shape != (len(self),):
            raise IndexError(f"position, a mask, must have shape ({len(self)},), got shape {index.shape}.")
        if not is_mask and _tree.is_concrete(index):
            # JAX would return the last row, and a loop over the dataset would never end.
            positions = np.asarray(index).ravel()
            outside = positions[(positions < -len(self)) | (positions >= len(self))]
            if outside.size:
                raise IndexError(
                    f"a position must be at least {-len(self)} and below {len(self)}, got {outside[0]}."
                )
        return index if index.size else index.astype(np.int32)

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

    @staticmethod
    def from_process_local_data(arrays: PyTree, *, weight: Any = None) -> "Dataset":
        """The rows of all processes, each of which passes its own: process 0's first, any numbers of them.

        Each device keeps its part of the rows. The result is used like the Dataset of all rows, and has the
        same order of rows in training; only the rows of a batch travel between devices.

        Args:
            arrays: the rows of this process, as for `Dataset`.
            weight: the weight of each row, [rows]; 1 each by default.

        Returns:
            A Dataset of the rows of all processes. In a program of one process, that of these rows.

        Raises:
            TypeError: as `Dataset`, in every process if it is raised in one.
            ValueError: likewise; or if the arrays of two processes differ in more than their rows.
            RuntimeError: if it is called outside of `with fn.mesh.use():`, with several processes.

        Example:
            >>> import jax.numpy as jnp, funcnet as fn
            >>> len(fn.data.Dataset.from_process_local_data((jnp.ones((8, 2)), jnp.zeros(8))))
            8
        """
        if _processes.count() == 1:
            if jax.process_count() > 1:
                raise RuntimeError(
                    "from_process_local_data must be called inside `with fn.mesh.use():`, which says where "
                    "the rows are kept."
                )
            return Dataset(arrays, weight=weight)
        with _processes.together():
            own = Dataset(arrays, weight=weight)
        kinds = {
            p: f"{a.dtype} [{', '.join(map(str, ('rows', *a.shape[1:])))}]"
            for p, a in _tree.paths(own).items()
        }
        advice = {"": "All processes must pass the same arrays, apart from their rows."}
        _processes.check_equal(kinds, advice)
        counts = [int(text) for text in _processes.share_text(str(len(own)))]
        tree, places = _parts.place_process_rows(jax.tree.map(np.asarray, own), counts)
        in_order = np.array_equal(places, np.arange(jax.tree.leaves(tree)[0].shape[0]))
        rows = None if in_order else jnp.asarray(places)
        return _tree.replace(tree, rows=rows)

    def weights(self) -> Float[Array, " n"]:
        """The weight of each example, [len(self)]; ones by default."""
        if self.weight is None:
            return jnp.ones(len(self))
        return self.weight if self.rows is None else self.weight[self.rows]


def own_arrays(data: Dataset) -> PyTree:
    """The arrays of a Dataset; those of its rows that this process has if others have the rest."""
    return jax.tree.map(_own_part, data.arrays)


def _own_part(array: Any) -> Any:
    """An array, or those of its rows that this process has if others have the rest."""
    return _parts.local_part(array) if _parts.is_spread(array) else array


def as_dataset(data: PyTree, name: str = "data") -> Dataset:
    """Return `data` if it is a Dataset, else the Dataset of a tuple (or other pytree) of arrays.

    Sentences call it `name`.
    """
    if hasattr(data, "chunks") and not isinstance(data, type):
        raise TypeError(
            f"{name} must be in memory, got a {type(data).__name__}, which only a Trainer accepts: "
            "fn.Trainer(train)(model, stream, key). For validation, read the rows of a Stream: "
            "valid = stream.first(len(stream))."
        )
    if isinstance(data, Dataset):
        return data
    dataset = Dataset.axes(data)
    dataset._set(name)
    return dataset


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
    position = _row_numbers(rows, len(data))
    if position.ndim != 1:
        raise ValueError(f"rows must be row numbers [m], got an array of shape {position.shape}.")
    return Dataset(data.arrays, weight=data.weight, rows=data._rows_at(position))


def host_arrays(data: PyTree) -> PyTree:
    """The arrays of a Dataset, or those of a tuple in the precision they came in, after the same checks."""
    if isinstance(data, Dataset) or hasattr(data, "chunks"):
        return as_dataset(data)[:]
    given = to_arrays(data)
    _check_shapes(given, "data")
    for path, leaf in _tree.paths(given).items():
        if _tree.is_concrete(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating):
            _check.finite(f"data{path}", np.asarray(leaf))
    return given


def to_arrays(tree: PyTree, name: str = "data") -> PyTree:
    """A pytree with each leaf as an array of NumPy or JAX, in the precision it came in."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_list_of_numbers)
    arrays = [
        leaf
        if isinstance(leaf, jax.Array) and _tree.is_key(leaf)
        else _check.array(f"{name}{jax.tree_util.keystr(path)}", leaf)
        for path, leaf in leaves
    ]
    return jax.tree.unflatten(structure, arrays)


def narrow(tree: PyTree, name: str = "data") -> PyTree:
    """NumPy's arrays of a stream in the dtypes that JAX gives them, after a check that each value fits."""

    def narrow_leaf(path: Any, leaf: Any) -> Any:
        if _tree.is_key(leaf):
            return leaf
        what = f"{name}{jax.tree_util.keystr(path)}"
        _check.fits_int32(what, leaf, ADVICE_ON_INTEGERS)
        _check.fits_float32(what, leaf)
        return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False)

    return jax.tree_util.tree_map_with_path(narrow_leaf, tree)


def is_list_of_numbers(node: Any) -> bool:
    """Whether a list is one array: neither it nor a list or tuple in it holds an array or a dictionary."""
    if not isinstance(node, list):
        return False
    return not any(
        isinstance(leaf, dict)
        or (hasattr(leaf, "__array__") and np.ndim(leaf) > 0)
        or (isinstance(leaf, list | tuple) and not is_list_of_numbers(list(leaf)))
        for leaf in node
    )


def _row_numbers(rows: Any, n: int | None = None) -> Array:
    """Row numbers as int32, below n."""
    numbers = _check.array("rows", rows)
    _check.row_dtype(numbers)
    if numbers.ndim == 0:
        raise ValueError("rows must be a list of row numbers, got a single number. Try rows=[0].")
    if n is not None and _tree.is_concrete(numbers):
        _check.row_numbers(numbers, n)
    _check.fits_int32("rows", numbers, "Row numbers start at 0.")
    return jnp.asarray(numbers, jnp.int32)


def _check_lengths(data: Dataset, name: str) -> None:
    num_rows = _check_shapes(data.arrays, name)
    if data.rows is not None and data.rows.shape[-1:] == (0,):
        raise ValueError("rows must hold at least one row number, got none.")
    if data.weight is not None and data.weight.shape != (num_rows,):
        raise ValueError(
            f"weight must be one number for each of the {num_rows} rows, got shape {data.weight.shape}. "
            "Try weight=jnp.ones(len(x))."
        )


def _check_shapes(arrays: PyTree, name: str) -> int:
    """The number of rows of all arrays."""
    leaves = _tree.paths(arrays)
    if not leaves:
        raise ValueError(f"{name} must hold at least one array, got none. Try Dataset((x, y)).")
    shapes = {path or name: leaf.shape for path, leaf in leaves.items()}
    if any(not shape for shape in shapes.values()):
        raise ValueError(f"every array of {name} must have a leading axis of rows, got shapes {shapes}.")
    lengths = {path: shape[0] for path, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path} has {n}" for path, n in lengths.items())
        raise ValueError(f"all arrays of {name} must have the same number of rows, got: {listed}.")
    num_rows: int = next(iter(lengths.values()))
    if num_rows == 0:
        raise ValueError(f"the table is empty: {name} must have at least one row, got 0.")
    return num_rows


def _check_values(data: Dataset, given: PyTree, what: str) -> None:
    originals = jax.tree.leaves(given)
    for (path, leaf), original in zip(_tree.paths(data.arrays).items(), originals, strict=True):
        name = f"{what}{path}"
        if _tree.is_concrete(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating):
            # numpy compiles nothing; on another device a reduction is cheaper than a copy to the host.
            values: Any = _own_part(leaf)
            on_host = values is not leaf or all(device.platform == "cpu" for device in leaf.devices())
            values = np.asarray(values) if on_host else leaf
            if not (np if on_host else jnp).isfinite(values).all():
                _check.finite(name, np.asarray(_own_part(original)))
                _check.fits_float32(name, original)
            _check.keeps_digits(name, original)
    if data.weight is not None and _tree.is_concrete(data.weight) and not _parts.is_spread(data.weight):
        _check.weights(np.asarray(data.weight))
    if data.rows is not None and _tree.is_concrete(data.rows):
        _check.row_numbers(data.rows, jax.tree.leaves(data.arrays)[0].shape[0])


class _Name(str):
    """Text that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

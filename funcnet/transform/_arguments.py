"""What transformed functions are given and return: pytrees of arrays of any library, scalars."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, PyTree

NUMBER = bool | int | float | complex


def to_arrays(name: str, tree: PyTree, *, structs: bool = False, others: bool = False) -> PyTree:
    """A pytree with its arrays, of any library, as JAX arrays; JAX's own and Python's numbers unchanged.

    Args:
        name: the argument, for error messages.
        tree: any pytree.
        structs: whether `jax.ShapeDtypeStruct`s are leaves, too.
        others: whether leaves that are not arrays, such as functions and strings, are passed on.

    Raises:
        TypeError: if a leaf is not an array of numbers.
        ValueError: if an integer does not fit.
    """

    def convert(path: Any, leaf: Any) -> Any:
        where = f"{name}{jax.tree_util.keystr(path)}"
        if isinstance(leaf, jax.Array | float | complex | bool) or (
            structs and isinstance(leaf, jax.ShapeDtypeStruct)
        ):
            return leaf
        if isinstance(leaf, int):
            _check.jax_array(where, leaf)
            return leaf
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise TypeError(f"{where} must be an array, got its shape and dtype alone: {leaf}.")
        if others and (isinstance(leaf, type) or not hasattr(leaf, "__array__")):
            return leaf
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind == "c":
            return jnp.asarray(leaf.astype(leaf.dtype.newbyteorder("=")))
        return _check.jax_array(where, leaf)

    return jax.tree_util.tree_map_with_path(convert, tree)


def partition_arrays(
    name: str, tree: PyTree, *, structs: bool = False, others: bool = False
) -> tuple[PyTree, PyTree]:
    """The arrays and numbers of a pytree, and its other leaves, with None in place of the rest.

    Others are functions, and in a module of equinox all that is not an array: a rate of dropout, a flag.

    Args:
        name: the argument, for error messages.
        tree: any pytree.
        structs: whether `jax.ShapeDtypeStruct`s are leaves, too.
        others: whether any leaf may be another one, such as a string.

    Raises:
        TypeError: if a leaf is not an array of numbers.
        ValueError: if an integer does not fit.
    """
    tree = to_arrays(name, tree, structs=structs, others=True)
    is_traced = lambda leaf: _is_array(leaf) or isinstance(leaf, NUMBER)  # noqa: E731
    mask = _mask(tree, lambda leaf: is_traced(leaf) or not (others or callable(leaf)))
    arrays, rest = _tree.partition(tree, mask)
    return to_arrays(name, arrays, structs=structs), rest


def partition_results(name: str, values: PyTree) -> tuple[PyTree, PyTree]:
    """The same of the results of the function called `name`, outside of equinox's modules all arrays."""
    arrays, others = _tree.partition(values, _mask(values, lambda leaf: True))
    return _check.results(name, arrays), others


def _mask(tree: PyTree, is_traced: Callable[[Any], bool]) -> PyTree:
    return jax.tree.map(
        lambda node: jax.tree.map(_is_array, node) if is_equinox(node) else is_traced(node),
        tree,
        is_leaf=is_equinox,
    )


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)


def is_equinox(node: Any) -> bool:
    return any(base.__module__.startswith("equinox.") for base in type(node).__mro__)


def to_floating(name: str, tree: PyTree) -> PyTree:
    """A pytree to differentiate by: at least one array, each of them floating."""
    if not any(np.size(leaf) for leaf in jax.tree.leaves(tree)):
        raise TypeError(
            f"{name} must hold at least one floating array, got {_check.describe(tree)}. An architecture "
            "has arrays after init: net.init(jax.random.key(0))."
        )
    tree = to_arrays(name, tree)
    check_floating(tree, name)
    return jax.tree.map(jnp.asarray, tree)


def check_floating(x: PyTree, what: str = "x") -> None:
    """Raise unless every leaf is floating."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        if not jnp.issubdtype(dtype_of(leaf), jnp.floating):
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)} must be floating to be differentiated, got "
                f"{dtype_of(leaf)}. Close over integers instead: lambda x: f(x, integers); of a model, "
                "differentiate by a part: lambda params: f(model.replace(params=params))."
            )


def to_examples(name: str, tree: PyTree) -> tuple[PyTree, int]:
    """Examples as JAX arrays with one leading axis, and their number n, at least 1."""
    if isinstance(tree, list) and tree and all(isinstance(p, list) or np.shape(p) == () for p in tree):
        tree = _check.jax_array(name, tree)  # rows as lists: else a pytree of scalars
    tree = to_arrays(name, tree)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
    counts = {shape[:1] for shape in shapes}
    if len(counts) != 1 or counts & {(), (0,)}:
        raise ValueError(
            f"{name} must be arrays with one row for each example, [n, ...], at least one, got shapes "
            f"{shapes}."
        )
    return tree, shapes[0][0]


def scalar(value: Any, name: str = "f") -> Array:
    """`value`, the result of the function called `name`; raise unless it is a floating scalar."""
    if not hasattr(value, "dtype") and not isinstance(value, bool | int | float | complex):
        raise TypeError(
            f"{name} must return a scalar, got {_check.describe(value)}. For a loss with metrics take the "
            "loss: lambda *args: f(*args)[0]."
        )
    if jnp.shape(value) != ():
        raise TypeError(
            f"{name} must return a scalar, got {_check.describe(value)}. Try lambda x: jnp.sum(f(x))."
        )
    if not jnp.issubdtype(dtype_of(value), jnp.floating):
        raise TypeError(
            f"{name} must return a floating scalar to be differentiated, got {dtype_of(value)}. Try "
            "lambda x: f(x).astype(float)."
        )
    return value


def to_alike(name: str, v: PyTree, like_name: str, like: PyTree) -> PyTree:
    """`v` in the dtypes of `like`, a pytree of arrays; raise unless it has its structure and shapes."""
    v = to_arrays(name, v)
    hint = f"Try jax.tree.map(jnp.ones_like, {like_name})."
    if jax.tree.structure(v) != jax.tree.structure(like):  # type: ignore[operator]
        raise TypeError(
            f"{name} must have the structure of {like_name}, {jax.tree.structure(like)}, got "
            f"{jax.tree.structure(v)}. {hint}"
        )
    for a, b in zip(jax.tree.leaves(like), jax.tree.leaves(v), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            raise TypeError(
                f"{name} must have the shapes of {like_name}, {jnp.shape(a)}, got {jnp.shape(b)}. {hint}"
            )
        if jnp.issubdtype(dtype_of(b), jax.dtypes.extended) or jnp.issubdtype(
            dtype_of(b), jnp.complexfloating
        ):
            raise TypeError(f"{name} must hold real numbers, got {dtype_of(b)}. {hint}")
    return jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), like, v)


def dtype_of(value: Any) -> Any:
    return value.dtype if hasattr(value, "dtype") else jnp.result_type(value)

"""Pytrees: the decorator for funcnet's own, and arithmetic on any of them."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    SequenceKey,
    register_pytree_with_keys,
)

from funcnet._types import Array, PyTree

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def node(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are all children of a pytree.

    JAX unflattens trees with placeholders as leaves, so unflattening does not run `__post_init__`: its
    checks apply only to values passed by a user.
    """
    node_class = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names = [field.name for field in dataclasses.fields(node_class)]  # type: ignore[arg-type]
    keys, fields = [GetAttrKey(name) for name in names], getter(names)

    def flatten(tree: T) -> tuple[tuple[Any, ...], None]:
        return fields(tree), None

    def flatten_with_keys(tree: T) -> tuple[list[tuple[GetAttrKey, Any]], None]:
        return list(zip(keys, fields(tree), strict=True)), None

    def unflatten(_: None, children: Any) -> T:
        tree = object.__new__(node_class)
        tree.__dict__.update(zip(names, children, strict=True))
        return tree

    register_pytree_with_keys(node_class, flatten_with_keys, unflatten, flatten)
    return node_class


def getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A fast function that returns these attributes as a tuple: every call of `fit` flattens trees."""
    if len(names) < 2:
        return lambda tree: tuple(getattr(tree, name) for name in names)
    return operator.attrgetter(*names)


def replace(tree: T, **changes: Any) -> T:
    """A copy of a node with some fields replaced, without running its checks again."""
    copy = object.__new__(type(tree))
    for field in dataclasses.fields(tree):  # type: ignore[arg-type]
        object.__setattr__(copy, field.name, changes.get(field.name, getattr(tree, field.name)))
    return copy


def partition(tree: PyTree, mask: PyTree) -> tuple[PyTree, PyTree]:
    """Split a tree into the leaves where `mask` is True and the others, with None in place of the rest."""
    selected = jax.tree.map(lambda leaf, keep: leaf if keep else None, tree, mask)
    others = jax.tree.map(lambda leaf, keep: None if keep else leaf, tree, mask)
    return selected, others


def combine(selected: PyTree, others: PyTree) -> PyTree:
    """Undo `partition`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, selected, others, is_leaf=lambda leaf: leaf is None
    )


def select(condition: Array, new: T, old: T) -> T:
    """`new` if the scalar `condition` is True, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b) if a is not b else a, new, old)


def add(a: T, b: T) -> T:
    """The sum of two trees, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)


def all_finite(tree: PyTree) -> Array:
    """Whether all values of all leaves are finite, as one boolean.

    Multiplied by the smallest normal number, no finite value overflows in a sum, and NaN and infinity
    remain. So columns can be summed by a matrix product, which takes a third of the time of `isfinite`
    on every value.
    """
    parts = []
    for leaf in jax.tree.leaves(tree):
        dtype = leaf.dtype if leaf.dtype.itemsize >= 4 else jnp.dtype("float32")
        tiny, part = jnp.asarray(jnp.finfo(dtype).tiny, dtype), leaf.astype(dtype)
        if part.ndim > 1:
            part = part.reshape(-1, part.shape[-1])
            parts.append(jnp.full(part.shape[:1], tiny) @ part)
        else:
            parts.append(part.ravel() * tiny)
    if not parts:
        return jnp.array(True)
    widest = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return jnp.all(jnp.isfinite(jnp.concatenate([part.astype(widest) for part in parts])))


def paths(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Leaves by their path, such as `layers[0].weight`."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}


def names(tree: PyTree) -> dict[str, str]:
    """The names of leaves in a file of weights, such as `layers.0.weight`, by their path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path).removeprefix("."): ".".join(map(key_name, path)) for path, _ in flat}


def key_name(entry: Any) -> str:
    """The name of one entry of a path: a field, a key of a dict, or an index."""
    match entry:
        case GetAttrKey(name=name):
            return str(name)
        case SequenceKey(idx=index):
            return str(index)
        case DictKey(key=key) | FlattenedIndexKey(key=key):
            return str(key)
    return str(entry)


def dtype_and_shape(array: Any) -> str:
    """Dtype and shape as a string, such as `float32[3,4]`."""
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}]"


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array that JAX takes as it is, or the shape and dtype of one."""
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return True
    is_numpy = isinstance(leaf, np.ndarray | np.generic) and not isinstance(leaf, np.ma.MaskedArray)
    return is_numpy and leaf.dtype.isnative and leaf.dtype != np.longdouble


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed key, or an array of keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_numpy(leaf: Any) -> np.ndarray:
    """A leaf as a numpy array, possibly without a copy; for a key, its key data."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def to_device(array: Any) -> Array:
    """An array as JAX's; `jnp.asarray` would compile a program for each new shape of a NumPy array."""
    return jnp.asarray(array) if not isinstance(array, np.ndarray) or is_traced() else jax.device_put(array)


def strongly_typed(tree: PyTree) -> PyTree:
    """The tree without weakly typed floats: a weak float32 times half precision is half precision."""

    def convert(leaf: Any) -> Any:
        dtype = jnp.result_type(leaf)
        is_weak = jax.typeof(leaf).weak_type and jnp.issubdtype(dtype, jnp.floating)
        return jnp.asarray(leaf, dtype) if is_weak else leaf

    return jax.tree.map(convert, tree)


def is_concrete(tree: PyTree) -> bool:
    """Whether no leaf is a tracer of jit, vmap or grad."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_traced() -> bool:
    """Whether the caller is being traced, by jit, vmap or grad."""
    current_state, eval_state = _trace_states()
    return bool(current_state() != eval_state)


@functools.cache
def _trace_states() -> tuple[Callable[[], Any], Any]:
    from jax.extend.core import get_opaque_trace_state  # takes 25 ms, and many programs never need it

    with jax.core.eval_context():
        return get_opaque_trace_state, get_opaque_trace_state()

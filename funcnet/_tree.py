"""Pytrees: the one way funcnet makes its own, and the arithmetic it needs on all of them."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey, register_pytree_with_keys

from funcnet._types import Array, PyTree

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def node(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass whose fields are all children of a pytree.

    JAX rebuilds trees around placeholders, so rebuilding runs no `__post_init__`: checks there see
    what a user passed and nothing else.
    """
    made = dataclasses.dataclass(frozen=True, eq=False)(cls)
    names = [field.name for field in dataclasses.fields(made)]  # type: ignore[arg-type]
    keys, fields = [GetAttrKey(name) for name in names], getter(names)

    def flatten(tree: T) -> tuple[tuple[Any, ...], None]:
        return fields(tree), None

    def flatten_with_keys(tree: T) -> tuple[list[tuple[GetAttrKey, Any]], None]:
        return list(zip(keys, fields(tree), strict=True)), None

    def unflatten(_: None, children: Any) -> T:
        tree = object.__new__(made)
        tree.__dict__.update(zip(names, children, strict=True))
        return tree

    register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made


def getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes, as a tuple; trees are taken apart at every call of a training."""
    if len(names) < 2:
        return lambda tree: tuple(getattr(tree, name) for name in names)
    return operator.attrgetter(*names)


def replace(tree: T, **changes: Any) -> T:
    """A copy of a node with some fields changed, without running its checks again."""
    copy = object.__new__(type(tree))
    for field in dataclasses.fields(tree):  # type: ignore[arg-type]
        object.__setattr__(copy, field.name, changes.get(field.name, getattr(tree, field.name)))
    return copy


def partition(tree: PyTree, mask: PyTree) -> tuple[PyTree, PyTree]:
    """The leaves where `mask` is True and the others, each with None in place of the other's."""
    chosen = jax.tree.map(lambda leaf, keep: leaf if keep else None, tree, mask)
    others = jax.tree.map(lambda leaf, keep: None if keep else leaf, tree, mask)
    return chosen, others


def combine(chosen: PyTree, others: PyTree) -> PyTree:
    """What `partition` took apart."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, chosen, others, is_leaf=lambda leaf: leaf is None
    )


def select(condition: Array, new: T, old: T) -> T:
    """`new` where the scalar `condition` holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b) if a is not b else a, new, old)


def add(a: T, b: T) -> T:
    return jax.tree.map(jnp.add, a, b)


def all_finite(tree: PyTree) -> Array:
    """Whether no leaf holds a NaN or an infinity, as one boolean.

    Times the least normal number nothing overflows, NaN and infinity stay what they are, and columns can
    be added up by a matrix product, which has a kernel made for it: a third of the price of asking each.
    """
    parts = []
    for leaf in jax.tree.leaves(tree):
        wide = leaf.dtype if leaf.dtype.itemsize >= 4 else jnp.dtype("float32")
        least, part = jnp.asarray(jnp.finfo(wide).tiny, wide), leaf.astype(wide)
        if part.ndim > 1:
            part = part.reshape(-1, part.shape[-1])
            parts.append(jnp.full(part.shape[:1], least) @ part)
        else:
            parts.append(part.ravel() * least)
    if not parts:
        return jnp.array(True)
    widest = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return jnp.all(jnp.isfinite(jnp.concatenate([part.astype(widest) for part in parts])))


def paths(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Leaves by their path, written as in code without the first dot: `layers[0].weight`."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    return {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}


def kind(array: Any) -> str:
    """Dtype and shape in a word: `float32[3,4]`."""
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}]"


def is_key(leaf: Any) -> bool:
    """Whether it is a typed key, or an array of them."""
    return jnp.issubdtype(getattr(leaf, "dtype", int), jax.dtypes.prng_key)


def host(leaf: Any) -> np.ndarray:
    """A leaf as numpy sees it, which need not be a copy; a key as its numbers."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def is_concrete(tree: PyTree) -> bool:
    """Whether every leaf is a value that can be read now, and none a tracer of jit, vmap or grad."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_traced() -> bool:
    """Whether a transformation is under way, such as jit, vmap or grad, around whoever asks."""
    now, untraced = _trace_states()
    return bool(now() != untraced)


@functools.cache
def _trace_states() -> tuple[Callable[[], Any], Any]:
    from jax.extend.core import get_opaque_trace_state  # 25 ms that many programs never need

    with jax.core.eval_context():
        return get_opaque_trace_state, get_opaque_trace_state()

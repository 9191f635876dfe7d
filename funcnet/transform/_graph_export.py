"""What a saved graph is made of: named axes, plain containers, and a program for several platforms."""

from collections.abc import Callable
from typing import Any

import jax

from funcnet import _check
from funcnet._module import Module
from funcnet._types import PyTree
from funcnet.transform._arguments import is_equinox

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def name_axes(inputs: tuple[Any, ...], batch: Any) -> tuple[Any, ...]:
    """The inputs, with a named leading axis where `batch` has a name: a prefix of them, as `in_axes` is."""
    from jax import export

    scope = export.SymbolicScope()
    paths_and_leaves, tree = jax.tree_util.tree_flatten_with_path(inputs)
    named: list[Any] = []
    of_trace: dict[str, tuple[str, int]] = {}
    for (path, leaf), name in zip(paths_and_leaves, _axis_names(inputs, batch), strict=True):
        shape, where = leaf.shape, f"args{jax.tree_util.keystr(path)}"
        if name and not shape:
            raise ValueError(
                f"batch must be None for {where}, a scalar, which has no leading axis, got {name!r}. Give "
                "a name or None for each argument, such as batch=('b', None)."
            )
        if name:
            first, length = of_trace.setdefault(name, (where, shape[0]))
            if length != shape[0]:
                raise ValueError(
                    f"batch must name axes of one length, got {name!r} for {first} of length {length} and "
                    f"{where} of length {shape[0]}. Parameters have no batch axis: give a name or None for "
                    "each argument, such as batch=(None, 'b')."
                )
            shape = export.symbolic_shape(",".join([name, *map(str, shape[1:])]), scope=scope)
        named.append(jax.ShapeDtypeStruct(shape, leaf.dtype))
    return jax.tree.unflatten(tree, named)


def _axis_names(inputs: tuple[Any, ...], batch: Any) -> list[str]:
    """The name of the leading axis of each leaf, "" if it has none."""
    if batch is None or isinstance(batch, str):
        prefix = jax.tree.map(lambda node: None if _is_module(node) else batch, inputs, is_leaf=_is_module)
    elif isinstance(batch, tuple | list):
        prefix = tuple(batch)
    else:
        raise TypeError(
            f"batch must be a name, or a name or None for each argument, got {_check.describe(batch)}. Try "
            'batch="b".'
        )
    is_none = lambda node: node is None  # noqa: E731
    for name in jax.tree.leaves(prefix, is_leaf=is_none):
        if name is not None and not (isinstance(name, str) and name.isidentifier() and name.isascii()):
            raise TypeError(f"batch must be a name such as 'b', or None, got {_check.describe(name)}.")
    try:
        return jax.tree.leaves(
            jax.tree.broadcast(jax.tree.map(lambda name: name or "", prefix, is_leaf=is_none), inputs)
        )
    except ValueError as error:
        raise ValueError(
            f"batch must have a name or None for each of {len(inputs)} arguments, got {batch!r}: "
            f'{str(error).splitlines()[0]}. Try batch="b".'
        ) from None


def _is_module(node: Any) -> bool:
    return isinstance(node, Module) or is_equinox(node)


def serialize(
    function: Callable[..., PyTree], structs: tuple[Any, ...], platforms: tuple[str, ...]
) -> bytes:
    """The compiled-for-all-platforms program of a function, which takes and returns plain containers."""
    from jax import export

    count, tree = len(jax.tree.leaves(structs)), jax.tree.structure(structs)
    places = jax.tree.leaves(to_plain(jax.tree.unflatten(tree, range(count))))  # dicts sort their keys

    def graph(*plain_args: Any) -> PyTree:
        leaves = dict(zip(places, jax.tree.leaves(plain_args), strict=True))
        args = jax.tree.unflatten(tree, [leaves[place] for place in range(count)])
        return to_plain(function(*args))

    try:
        exported = export.export(jax.jit(graph), platforms=platforms)(*to_plain(structs))
    except NotImplementedError as error:
        raise ValueError(
            f"platforms must all have the operations of the graph, got {platforms}: "
            f"{str(error).splitlines()[0]}. Try platforms={(export.default_export_platform(),)}."
        ) from error
    return bytes(exported.serialize())


def to_plain(tree: PyTree) -> PyTree:
    """A pytree of containers that JAX saves: a module is a dict of its fields, a named tuple a tuple.

    So is what has no names, such as a dict whose keys are integers.
    """
    one_level = jax.tree_util.default_registry.flatten_one_level_with_keys(tree)
    if tree is None or one_level is None:
        return tree
    keys = [getattr(key, "name", getattr(key, "key", None)) for key, _ in one_level[0]]
    children = [to_plain(child) for _, child in one_level[0]]
    if isinstance(tree, list | tuple):
        return children if isinstance(tree, list) else tuple(children)
    if all(isinstance(key, str) for key in keys):
        return dict(zip(keys, children, strict=True))
    return tuple(children)

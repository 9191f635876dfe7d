"""Sharded models: which axis of each array lies along which axis of the mesh, and states like them."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from funcnet import _check, _mesh, _tree
from funcnet._module import select
from funcnet._types import PyTree

T = TypeVar("T")
Spec: TypeAlias = tuple[_mesh.Axis, ...] | None
Rule: TypeAlias = Literal["full", "columns"] | Mapping[str, Spec] | Callable[[str, Any], Spec]

MIN_SHARDED_SIZE = 2**10
"""Smaller arrays are replicated by the rule "full": to gather one takes longer than to keep it."""


def shard(model: T, rule: Rule = "full", axis: _mesh.Axis = None) -> T:
    """Place the arrays of a model on the devices of the enclosing `use`, each device holding a part.

    `fit`, `step`, `Trainer`, `evaluate` and `predict` take such a model like any other. The parameters, the
    optimizer's state, averages of weights and the result stay sharded, so that n devices train a model
    which is too large for one. The numbers are those of one device up to the order of summation. XLA moves
    parameters or activations between devices, whichever it expects to cost less.

    A model that is too large for one device is initialized in parts:
    `jax.jit(lambda key: fn.mesh.shard(net.init(key)))`.

    Args:
        model: a model, or any other pytree of arrays; or a TrainState, whose optimizer's state is placed as
            the model is.
        rule: "full" shards each array along its last axis that can be divided evenly, and replicates
            arrays of less than 1024 numbers; "columns" shards the last axis of each array of two or
            more axes, if it can be divided evenly, and replicates the others. By path, a dictionary such as
            `{"layers[0].weight": (None, "model")}` has an axis of the mesh, a tuple of axes or None for the
            first axes of an array; a path stands for all arrays below it, the last entry counts, and other
            arrays are replicated. A function `(path, leaf)` returns such a tuple, or None.
        axis: for "full" and "columns", the axis of the mesh, or a tuple of axes; the data axis if None.

    Returns:
        The same type; its arrays are placed.

    Raises:
        TypeError: if `rule` is none of these, or the model holds no arrays.
        ValueError: if called outside of `use`, the mesh has no such axis, an array can't be divided evenly,
            or a path matches no array.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> net = fn.MLP((8, 256, "scalar"))
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=2)
        >>> with fn.mesh.use():  # as many devices as there are
        ...     model = fn.mesh.shard(net.init(jax.random.key(0)))
        ...     run = train(model, (jnp.ones((64, 8)), jnp.ones(64)), jax.random.key(1))
        >>> run.model.layers[0].weight.sharding.spec
        P(None, 'data')
        >>> with fn.mesh.use({"data": 1, "model": 1}):
        ...     model = fn.mesh.shard(model, {"layers[0].weight": (None, "model")})

    Source: Rajbhandari, Rasley, Ruwase and He, "ZeRO: memory optimizations toward training trillion
    parameter models" (2020), for "full"; Shoeybi et al., "Megatron-LM: training multi-billion parameter
    language models using model parallelism" (2019), for "columns".
    """
    of_state: Any = model if hasattr(model, "opt_state") and hasattr(model, "model") else None
    parameters = model if of_state is None else of_state.model
    mesh, leaves = jax.sharding.get_abstract_mesh(), _tree.paths(parameters)
    if not mesh.auto_axes:
        raise ValueError('fn.mesh.shard must be called inside "with fn.mesh.use(n):".')
    if not leaves:
        raise TypeError(
            f"model must hold arrays, got {_check.describe(model)}. Initialize it: net.init(key)."
        )
    specs = _specs(rule, axis, mesh, parameters, leaves)
    return _place(
        model,
        parameters,
        {path: _check_spec(path, leaf, specs.get(path), mesh) for path, leaf in leaves.items()},
    )


def _specs(rule: Any, axis: Any, mesh: Any, model: Any, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """What the rule says for each array, by path; arrays may be missing."""
    if isinstance(rule, str):
        _check.choice("rule", rule, ("full", "columns"))
        along = _mesh.check_axis("axis", axis, mesh) or _mesh.data_axes()
        if not along:
            raise ValueError(
                f"axis must be given if data_axis is None. Write fn.mesh.shard(model, {rule!r}, "
                f"axis={mesh.axis_names[0]!r})."
            )
        find = _full if rule == "full" else _columns
        return {path: find(jnp.shape(leaf), along, _mesh.size(along)) for path, leaf in leaves.items()}
    if axis is not None:
        raise ValueError(
            'axis must be None for a rule by path, which names axes itself; it is for "full" and "columns".'
        )
    if isinstance(rule, Mapping):
        names = _tree.names(model)
        return {path: spec for paths, spec in rule.items() for path in select("rule", leaves, names, paths)}
    if not callable(rule):
        raise TypeError(
            'rule must be "full", "columns", a dictionary from paths to axes or a function '
            f'(path, leaf) -> axes, got {_check.describe(rule)}. Try fn.mesh.shard(model, "full").'
        )
    _check.takes("rule", rule, "a function (path, leaf) -> axes", "layers[0].weight", None)
    return {path: rule(path, leaf) for path, leaf in leaves.items()}


def _full(shape: tuple[int, ...], names: tuple[str, ...], count: int) -> Spec:
    even = [i for i, length in enumerate(shape) if length and length % count == 0]
    if not even or math.prod(shape) < MIN_SHARDED_SIZE:
        return None
    return (*[None] * even[-1], names)


def _columns(shape: tuple[int, ...], names: tuple[str, ...], count: int) -> Spec:
    if len(shape) < 2 or shape[-1] % count:
        return None
    return (*[None] * (len(shape) - 1), names)


def _check_spec(path: str, leaf: Any, spec: Any, mesh: Any) -> Any:
    """The spec of one array as a PartitionSpec, after a check that it suits the array and the mesh."""
    shape, at = jnp.shape(leaf), path or "the model"
    if isinstance(spec, str) or not (spec is None or isinstance(spec, tuple | jax.sharding.PartitionSpec)):
        raise TypeError(
            f"rule must give a tuple of axes of the mesh or None for {at}, got {_check.describe(spec)}. "
            f"Try {_last(shape, mesh)}."
        )
    spec = tuple(spec or ())
    if len(spec) > len(shape):
        raise ValueError(
            f"rule must give at most {len(shape)} axes for {at} of shape {shape}, got {spec}. Try "
            f"{spec[: len(shape)]}."
        )
    parts = [part if isinstance(part, tuple) else () if part is None else (part,) for part in spec]
    used = [name for part in parts for name in part]
    if unknown := [name for name in used if name not in mesh.axis_names]:
        own = ", ".join(map(repr, mesh.axis_names))
        raise ValueError(
            f"rule must name axes of the mesh, which has {own}, got {unknown[0]!r} for {at}. Try "
            f"{_last(shape, mesh)}."
        )
    if len(set(used)) < len(used):
        raise ValueError(f"rule must name each axis once, got {spec} for {at}. Try {_last(shape, mesh)}.")
    for length, part in zip(shape, parts, strict=False):
        if length % (count := _mesh.size(part)):
            raise ValueError(
                f"rule must divide {at} of shape {shape} evenly, got {spec}, and {length} is not a "
                f"multiple of {count}, the devices along {' and '.join(part)}. Write None there."
            )
    return jax.sharding.PartitionSpec(*spec)


def _last(shape: tuple[int, ...], mesh: Any) -> Spec:
    """The first axis of the mesh along the last axis of an array."""
    return (*[None] * (len(shape) - 1), mesh.axis_names[0])


class Placed(NamedTuple):
    """An array of a model: its path and shape, and how it lies on the devices of a mesh."""

    path: str
    shape: tuple[int, ...]
    sharding: Any


# Tracers do not know how they are sharded, so this is a part of the key of each compiled program.
_PLACED: Any = jax.make_user_context(())


def _place(tree: T, model: PyTree, specs: Mapping[str, jax.sharding.PartitionSpec]) -> T:
    """The tree with the arrays of a model placed by path, and those like them; the others are replicated.

    Args:
        tree: the model, or a state of its training.
        model: the model.
        specs: a `PartitionSpec` for each array of the model, by path.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    paths = [jax.tree_util.keystr(path) for path, _ in leaves]
    placed = [
        Placed(path, jnp.shape(leaf), specs[path.removeprefix(".")])
        for path, (_, leaf) in zip(paths, leaves, strict=True)
    ]
    put = jax.lax.with_sharding_constraint if _tree.is_traced() else jax.device_put
    return _map_like(lambda leaf, spec: put(leaf, spec or jax.sharding.PartitionSpec()), tree, placed)


def sharded_like(model: PyTree) -> AbstractContextManager[Any]:
    """A context manager in which `shard_like_model` places arrays as those of this model are.

    Raises:
        ValueError: if the model is sharded over other devices than those of the enclosing `use`.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(model)
    placed = [
        Placed(jax.tree_util.keystr(path), leaf.shape, leaf.sharding)
        for path, leaf in leaves
        if isinstance(getattr(leaf, "sharding", None), jax.sharding.NamedSharding)
    ]
    sharded = [one.sharding for one in placed if not one.sharding.is_fully_replicated]
    mesh = jax.sharding.get_mesh() if sharded else None
    if mesh and [*mesh.devices.flat] != [*sharded[0].mesh.devices.flat]:
        raise ValueError(
            f"model must be sharded over the {mesh.size} devices of this mesh, got one over "
            f"{sharded[0].mesh.size}, other ones or in another order. Shard it inside of the same "
            '"with fn.mesh.use(...):" that trains it.'
        )
    return _PLACED(tuple(placed) if sharded else ())


def shard_like_model(tree: T) -> T:
    """Place the arrays of a state as those of the model are, inside jit and `sharded_like`.

    XLA does so by itself inside a loop, but not before it: a new state of an optimizer is replicated.
    """
    if not (placed := _PLACED.value):
        return tree

    def constrain(leaf: Any, sharding: Any) -> Any:
        return leaf if sharding is None else jax.lax.with_sharding_constraint(leaf, sharding)

    return _map_like(constrain, tree, placed)


def _map_like(f: Callable[[Any, Any], Any], tree: T, placed: Sequence[Placed]) -> T:
    """`f(leaf, sharding)` for all leaves of a tree, with the sharding of the array that a leaf is like.

    That is the array of the model whose path ends the leaf's, and whose shape is the same: the model, its
    averages and copies, and what an optimizer keeps for each parameter are like it. None for other leaves.
    """

    def one(path: Any, leaf: Any) -> Any:
        at = jax.tree_util.keystr(path)
        like = [p for p in placed if at.endswith(p.path) and jnp.shape(leaf) == p.shape]
        return f(leaf, max(like, key=lambda p: len(p.path)).sharding if like else None)

    return jax.tree_util.tree_map_with_path(one, tree)

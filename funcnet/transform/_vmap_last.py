"""`vmap` with the mapped axis last: many small models side by side in the lanes of the processor."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import Array, PyTree
from funcnet.transform._jaxpr import called, primitives_of, scan_parts, while_parts
from funcnet.transform._vmap_last_rules import (
    Rule,
    Value,
    by_vmap,
    plain,
    random_bits_of,
    table_of_rules,
    with_lanes,
)

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import Jaxpr, JaxprEqn

NOT_MAPPED = object()


def vmap_last(f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """`jax.vmap(f, in_axes)`, computed with the mapped axis last instead of first.

    `f` is traced for one member and its operations are evaluated with a trailing axis of members:
    elementwise operations, reductions and reshapes only gain that axis, and a small matrix product
    becomes a sum of products over whole lanes, where `vmap` would compute thousands of tiny matrix
    products one after another. What has no rule of its own is mapped by `vmap`. The numbers are those
    of `vmap` up to rounding.

    It pays for many small models; for one large matrix a member `vmap` is right. Differentiate
    inside, `vmap_last(jax.grad(f))`: functions with a derivative of their own lose it under `vmap_last`.

    Args:
        f: a function of pytrees of arrays that returns one; such as a whole `fn.fit` training.
        in_axes: as for `jax.vmap`: an integer, None, or a pytree prefix of them for the arguments.

    Returns:
        The mapped function; its results have the members' axis first.

    Raises:
        TypeError: if `f` is no function.
        ValueError: if nothing is mapped, or the mapped axes have different sizes.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> models = jax.vmap(fn.MLP((4, 16, 3)).init)(jax.random.split(jax.random.key(0), 100))
        >>> x = jnp.ones((5, 4))
        >>> many = jax.jit(fn.transform.vmap_last(lambda model, x: model(x), in_axes=(0, None)))
        >>> many(models, x).shape
        (100, 5, 3)
    """
    _check.function("f", f, "a function of arrays")

    @functools.wraps(f)
    def mapped(*args: PyTree) -> Any:
        leaves, structure = jax.tree.flatten(args)
        axes = _flat_axes(in_axes, args)
        size = _size(leaves, axes)
        members: list[Any] = [_one(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]
        traced, shapes = jax.make_jaxpr(f, return_shape=True)(*jax.tree.unflatten(structure, members))
        values = [
            Value(leaf, False) if axis is None else Value(jnp.moveaxis(leaf, axis, -1), True)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        found = _evaluate(traced.jaxpr, traced.consts, values, size)
        results = [jnp.moveaxis(with_lanes(value, size), -1, 0) for value in found]
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return mapped


def _flat_axes(in_axes: Any, args: tuple[PyTree, ...]) -> list[int | None]:
    if isinstance(in_axes, int):
        in_axes = (in_axes,) * len(args)
    # None is an empty tree to JAX, and an argument may hold some of its own: another word stands for it.
    told = jax.tree.map(lambda a: NOT_MAPPED if a is None else a, in_axes, is_leaf=lambda a: a is None)
    axes = jax.tree.leaves(jax.tree.broadcast(tuple(told), args))
    return [None if axis is NOT_MAPPED else axis for axis in axes]


def _size(leaves: list[Any], axes: list[int | None]) -> int:
    sizes = {leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None}
    if len(sizes) != 1:
        found = f"sizes {sorted(sizes)}" if sizes else "no mapped argument"
        raise ValueError(f"vmap_last maps over axes of one size; got {found}. Check in_axes.")
    return sizes.pop()


def _one(leaf: Any, axis: int | None) -> Any:
    """What one member sees of an argument."""
    if axis is None:
        return leaf
    shape = list(leaf.shape)
    del shape[axis]
    return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)


def _evaluate(jaxpr: "Jaxpr", consts: Sequence[Any], args: Sequence[Value], size: int) -> list[Value]:
    """The results of a jaxpr. A result has lanes exactly if something it came from has."""
    values: dict[Any, Value] = dict(zip(jaxpr.invars, args, strict=True))
    values |= {var: Value(const, False) for var, const in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom: Any) -> Value:
        return Value(atom.val, False) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if program := _program(equation):
            found = _evaluate(*program, inputs, size)
        elif equation.primitive in _table().loops:
            found = _table().loops[equation.primitive][1](equation, inputs, size)
        else:
            laned = any(value.laned for value in inputs)
            rule = _table().rules.get(equation.primitive, by_vmap) if laned else plain
            found = [Value(array, laned) for array in rule(equation, inputs, size)]
        values |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


# Control flow. Which of its results have lanes is found first, so that both branches, and a loop's carry
# before and after, agree.


def _flags(jaxpr: "Jaxpr", laned: Sequence[bool]) -> list[bool]:
    """Which results of a jaxpr have lanes, if these arguments have."""
    flags = dict(zip(jaxpr.invars, laned, strict=True))

    def flag(atom: Any) -> bool:
        return not hasattr(atom, "val") and flags.get(atom, False)

    for equation in jaxpr.eqns:
        inputs = [flag(atom) for atom in equation.invars]
        if program := _program(equation):
            found = _flags(program[0], inputs)
        elif equation.primitive in _table().loops:
            found = _table().loops[equation.primitive][0](equation, inputs)
        else:
            found = [any(inputs)] * len(equation.outvars)
        flags |= dict(zip(equation.outvars, found, strict=True))
    return [flag(atom) for atom in jaxpr.outvars]


def _program(equation: "JaxprEqn") -> tuple["Jaxpr", Sequence[Any]] | None:
    """What an operation consists of, where it is evaluated in its place."""
    if equation.primitive in _table().inlined:
        return called(equation)
    return random_bits_of(equation)


def _carry_flags(body: "Jaxpr", before: list[bool], carry: list[bool], after: list[bool]) -> list[bool]:
    """Which parts of a loop's carry have lanes, sooner or later."""
    while True:
        found = _flags(body, [*before, *carry, *after])[: len(carry)]
        grown = [a or b for a, b in zip(carry, found, strict=True)]
        if grown == carry:
            return carry
        carry = grown


def _branch_flags(equation: "JaxprEqn", laned: list[bool]) -> list[bool]:
    index, *operands = laned
    found = [_flags(branch.jaxpr, operands) for branch in equation.params["branches"]]
    return [index or any(flags) for flags in zip(*found, strict=True)]


def _scan_flags(equation: "JaxprEqn", laned: list[bool]) -> list[bool]:
    body = equation.params["jaxpr"].jaxpr
    consts, carry, xs = scan_parts(equation, laned)
    carry = _carry_flags(body, consts, carry, xs)
    return carry + _flags(body, [*consts, *carry, *xs])[len(carry) :]


def _while_flags(equation: "JaxprEqn", laned: list[bool]) -> list[bool]:
    test, body, carry = while_parts(equation, laned)
    carry = _carry_flags(equation.params["body_jaxpr"].jaxpr, body, carry, [])
    if _flags(equation.params["cond_jaxpr"].jaxpr, [*test, *carry])[0]:
        return [True] * len(carry)  # each member ends by itself, and keeps what it has
    return carry


def _arrays(values: list[Value], flags: list[bool], size: int) -> list[Any]:
    return [with_lanes(v, size) if flag else v.array for v, flag in zip(values, flags, strict=True)]


def _values(arrays: Sequence[Any], flags: list[bool]) -> list[Value]:
    return [Value(array, flag) for array, flag in zip(arrays, flags, strict=True)]


def _cond(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    index, *operands = inputs
    flags = _branch_flags(equation, [value.laned for value in inputs])

    def of(branch: Any) -> Callable[..., list[Any]]:
        def run(*arrays: Any) -> list[Any]:
            values = _values(arrays, [value.laned for value in operands])
            return _arrays(_evaluate(branch.jaxpr, branch.consts, values, size), flags, size)

        return run

    arrays = [value.array for value in operands]
    branches = [of(branch) for branch in equation.params["branches"]]
    if not index.laned:
        return _values(jax.lax.switch(index.array, branches, *arrays), flags)
    chosen = index.array.astype(jnp.int32)
    last = len(branches) - 1

    def each_its_own(*arrays: Any) -> list[Any]:
        results = [run(*arrays) for run in branches]
        return [_picked(chosen, list(cases)) for cases in zip(*results, strict=True)]

    # Where all choose the last branch, as all do in a training that goes well, nothing else is computed.
    found = jax.lax.cond(jnp.all(chosen == last), branches[last], each_its_own, *arrays)
    return _values(found, flags)


def _picked(index: Array, cases: list[Any]) -> Any:
    found = cases[-1]
    for number, case in reversed(list(enumerate(cases[:-1]))):
        found = jnp.where(jnp.broadcast_to(index <= number, case.shape), case, found)
    return found


def _scan(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    flags = _scan_flags(equation, [value.laned for value in inputs])
    consts, carry, xs = scan_parts(equation, inputs)
    carried, stacked = flags[: len(carry)], flags[len(carry) :]
    body = equation.params["jaxpr"]

    def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        values = [*consts, *_values(carry, carried), *_values(x, [value.laned for value in xs])]
        found = _evaluate(body.jaxpr, body.consts, values, size)
        return _arrays(found[: len(carry)], carried, size), _arrays(found[len(carry) :], stacked, size)

    settings = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    first = _arrays(carry, carried, size)
    last, ys = jax.lax.scan(step, first, [value.array for value in xs], **settings)
    return _values([*last, *ys], flags)


def _while(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    flags = _while_flags(equation, [value.laned for value in inputs])
    test_consts, body_consts, carry = while_parts(equation, inputs)
    test, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]

    def tested(arrays: Sequence[Any]) -> Value:
        values = [*test_consts, *_values(arrays, flags)]
        return _evaluate(test.jaxpr, test.consts, values, size)[0]

    def goes_on(arrays: Sequence[Any]) -> Any:
        return jnp.any(tested(arrays).array)

    def step(arrays: Sequence[Any]) -> Sequence[Any]:
        values = [*body_consts, *_values(arrays, flags)]
        moved = _arrays(_evaluate(body.jaxpr, body.consts, values, size), flags, size)
        running = tested(arrays)
        if not running.laned:
            return moved
        return [
            _picked(running.array.astype(jnp.int32), [a, b]) for a, b in zip(arrays, moved, strict=True)
        ]

    return _values(jax.lax.while_loop(goes_on, step, _arrays(carry, flags, size)), flags)


class Table(NamedTuple):
    """What is done with each primitive; all others are mapped by their own rule for `vmap`."""

    inlined: frozenset[Any]
    loops: dict[Any, tuple[Callable[..., list[bool]], Callable[..., list[Value]]]]
    rules: dict[Any, Rule]


INLINED = ("jit", "closed_call", "call", "remat", "custom_jvp_call", "custom_vjp_call")


@functools.cache
def _table() -> Table:
    loops = (_branch_flags, _cond), (_scan_flags, _scan), (_while_flags, _while)
    return Table(
        inlined=frozenset(primitives_of(*INLINED)),
        loops=dict(zip(primitives_of("cond", "scan", "while"), loops, strict=True)),
        rules=table_of_rules(),
    )

"""`vmap` with the mapped axis last: many small models side by side in the lanes of the processor."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import Array, PyTree
from funcnet.transform._arguments import to_arrays
from funcnet.transform._jaxpr import (
    Cond,
    Scan,
    While,
    called_program,
    cond_parts,
    evaluate,
    scan_parts,
    while_parts,
)
from funcnet.transform._vmap_last_rules import Value, by_vmap, plain, random_program, rules, with_lanes

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import ClosedJaxpr, JaxprEqn

NOT_MAPPED = object()


def vmap_last(f: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """`jax.vmap(f, in_axes)`, computed with the mapped axis last instead of first.

    `f` is traced for one member and its operations are evaluated with a trailing axis of members, one for
    each SIMD lane: elementwise operations, reductions and reshapes only gain that axis, and a small matrix
    product becomes a sum of products over whole lanes, where `vmap` computes thousands of tiny matrix
    products one after another. Operations without a rule here are mapped by `vmap`. The results are those
    of `vmap` up to rounding.

    Use it for many small models, and `vmap` if each member has large matrices. Differentiate inside,
    `vmap_last(jax.grad(f))`: functions with custom derivatives lose them under `vmap_last`.

    Args:
        f: a function of pytrees of arrays that returns one, such as a function returned by `fn.fit`.
        in_axes: as for `jax.vmap`: an integer, None, or a pytree prefix of them for the arguments.

    Returns:
        The mapped function; the results have the axis of members first.

    Raises:
        TypeError: if `f` is not callable.
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

    def of_member(*args: PyTree) -> PyTree:
        return _check.results("f", f(*args))

    @functools.wraps(f)
    def mapped(*args: PyTree) -> Any:
        _check.takes("f", f, "a function of arrays", *args)
        args = to_arrays("args", args)
        leaves, structure = jax.tree.flatten(args)
        axes = _flat_axes(in_axes, args)
        size = _size(leaves, axes)
        members = [_member_struct(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]
        program, structs = jax.make_jaxpr(of_member, return_shape=True)(
            *jax.tree.unflatten(structure, members)
        )
        values = [
            Value(leaf, False) if axis is None else Value(jnp.moveaxis(leaf, axis, -1), True)
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        results = [jnp.moveaxis(with_lanes(value, size), -1, 0) for value in _run(program, values, size)]
        return jax.tree.unflatten(jax.tree.structure(structs), results)

    return mapped


def _flat_axes(in_axes: Any, args: tuple[PyTree, ...]) -> list[int | None]:
    if isinstance(in_axes, int):
        in_axes = (in_axes,) * len(args)
    is_axis = lambda axis: axis is None or (isinstance(axis, int) and not isinstance(axis, bool))  # noqa: E731
    leaves = jax.tree.leaves(in_axes, is_leaf=lambda axis: axis is None)
    if not (isinstance(in_axes, tuple | list) and all(map(is_axis, leaves)) and len(in_axes) == len(args)):
        raise TypeError(
            f"in_axes must be an integer, or a tuple with an integer or None for each of {len(args)} "
            f"arguments, got {_check.describe(in_axes)}. Try in_axes=(0, None)."
        )
    # None is an empty tree to JAX, and an argument may contain None itself: a sentinel replaces it.
    marked = jax.tree.map(lambda a: NOT_MAPPED if a is None else a, in_axes, is_leaf=lambda a: a is None)
    try:
        axes = jax.tree.leaves(jax.tree.broadcast(tuple(marked), args))
    except ValueError as error:
        raise ValueError(f"in_axes must be a prefix of the arguments, got {in_axes}: {error}") from None
    return [None if axis is NOT_MAPPED else axis for axis in axes]


def _size(leaves: list[Any], axes: list[int | None]) -> int:
    for leaf, axis in zip(leaves, axes, strict=True):
        if axis is not None and not -jnp.ndim(leaf) <= axis < jnp.ndim(leaf):
            raise ValueError(
                f"in_axes must name axes of the arguments, got axis {axis} of shape {jnp.shape(leaf)}. Use "
                "None for what all members share."
            )
    sizes = {leaf.shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None}
    if len(sizes) != 1:
        mapped = f"sizes {sorted(sizes)}" if sizes else "no mapped argument"
        raise ValueError(f"vmap_last must map over axes of one size, got {mapped}. Check in_axes.")
    return sizes.pop()


def _member_struct(leaf: Any, axis: int | None) -> Any:
    """An argument as one member receives it."""
    if axis is None:
        return leaf
    shape = list(leaf.shape)
    del shape[axis]
    return jax.ShapeDtypeStruct(tuple(shape), leaf.dtype)


def _run(program: "ClosedJaxpr", args: Sequence[Value], size: int) -> list[Value]:
    """The results of a program. A result has lanes if and only if a value that it depends on has them."""

    def rule(equation: "JaxprEqn", inputs: list[Value]) -> list[Value]:
        match equation.primitive.name:
            case "scan":
                return _scan(equation, inputs, size)
            case "while":
                return _while(equation, inputs, size)
            case "cond":
                return _cond(equation, inputs, size)
        laned = any(value.laned for value in inputs)
        compute = rules().get(equation.primitive, by_vmap) if laned else plain
        return [Value(array, laned) for array in compute(equation, inputs, size)]

    return evaluate(program, args, rule, lift=lambda array: Value(array, False), open_call=_open_call)


def _open_call(equation: "JaxprEqn") -> "ClosedJaxpr | None":
    return called_program(equation) or random_program(equation)


# Control flow. Which results have lanes is computed first, so that all branches agree, and a loop's carry
# before and after an iteration.


def _flags(program: "ClosedJaxpr", laned: Sequence[bool]) -> list[bool]:
    """Which results of a program have lanes, by which of its arguments have."""

    def rule(equation: "JaxprEqn", laned: list[bool]) -> list[bool]:
        match equation.primitive.name:
            case "scan":
                return _scan_flags(scan_parts(equation, laned))
            case "while":
                return _while_flags(while_parts(equation, laned))
            case "cond":
                return _cond_flags(cond_parts(equation, laned))
        return [any(laned)] * len(equation.outvars)

    return evaluate(program, laned, rule, lift=lambda _: False, open_call=_open_call)


def _carry_flags(
    body: "ClosedJaxpr", consts: list[bool], carry: list[bool], xs: Sequence[bool] = ()
) -> list[bool]:
    """Which parts of a loop's carry have lanes in any iteration."""
    while True:
        after = _flags(body, [*consts, *carry, *xs])[: len(carry)]
        grown = [a or b for a, b in zip(carry, after, strict=True)]
        if grown == carry:
            return carry
        carry = grown


def _scan_flags(scan: Scan[bool]) -> list[bool]:
    carry = _carry_flags(scan.body, scan.consts, scan.carry, scan.xs)
    return carry + _flags(scan.body, [*scan.consts, *carry, *scan.xs])[len(carry) :]


def _while_flags(loop: While[bool]) -> list[bool]:
    carry = _carry_flags(loop.body, loop.body_consts, loop.carry)
    if _flags(loop.cond, [*loop.cond_consts, *carry])[0]:
        return [True] * len(carry)  # each member stops on its own and keeps its values
    return carry


def _cond_flags(cond: Cond[bool]) -> list[bool]:
    of_branches = [_flags(branch, cond.operands) for branch in cond.branches]
    return [cond.branch_index or any(flags) for flags in zip(*of_branches, strict=True)]


def _lane_flags(values: list[Value]) -> list[bool]:
    return [value.laned for value in values]


def _arrays(values: list[Value], flags: list[bool], size: int) -> list[Any]:
    return [with_lanes(v, size) if flag else v.array for v, flag in zip(values, flags, strict=True)]


def _values(arrays: Sequence[Any], flags: list[bool]) -> list[Value]:
    return [Value(array, flag) for array, flag in zip(arrays, flags, strict=True)]


def _cond(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    flags = _cond_flags(cond_parts(equation, _lane_flags(inputs)))
    index, branches, operands = cond_parts(equation, inputs)

    def run(branch: "ClosedJaxpr", *arrays: Any) -> list[Any]:
        return _arrays(_run(branch, _values(arrays, _lane_flags(operands)), size), flags, size)

    arrays = [value.array for value in operands]
    functions = [functools.partial(run, branch) for branch in branches]
    if not index.laned:
        return _values(jax.lax.switch(index.array, functions, *arrays), flags)
    chosen = index.array.astype(jnp.int32)

    def select_branches(*arrays: Any) -> list[Any]:
        results = [function(*arrays) for function in functions]
        return [_select(chosen, list(cases)) for cases in zip(*results, strict=True)]

    # If all members choose the last branch, as in runs whose steps are all finite, the rest is skipped.
    all_last = jnp.all(chosen == len(branches) - 1)
    return _values(jax.lax.cond(all_last, functions[-1], select_branches, *arrays), flags)


def _select(index: Array, cases: list[Any]) -> Any:
    result = cases[-1]
    for number, case in reversed(list(enumerate(cases[:-1]))):
        result = jnp.where(jnp.broadcast_to(index <= number, case.shape), case, result)
    return result


def _align(running: Value, array: Any, laned: bool) -> Array:
    """Whether each entry of an array belongs to a loop that is running.

    The axes of `running` are the first of the array, since an inner `vmap` puts them there, and the lanes.
    """
    mask = running.array
    outer = mask.ndim - running.laned
    lanes = mask.shape[outer:] if running.laned else (1,) * laned
    inner = (1,) * (array.ndim - outer - laned)
    return jnp.broadcast_to(mask.reshape(*mask.shape[:outer], *inner, *lanes), array.shape)


def _scan(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    flags = _scan_flags(scan_parts(equation, _lane_flags(inputs)))
    scan = scan_parts(equation, inputs)
    count = len(scan.carry)
    carry_flags, y_flags = flags[:count], flags[count:]

    def body(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        values = [*scan.consts, *_values(carry, carry_flags), *_values(x, _lane_flags(scan.xs))]
        results = _run(scan.body, values, size)
        return _arrays(results[:count], carry_flags, size), _arrays(results[count:], y_flags, size)

    init, xs = _arrays(scan.carry, carry_flags, size), [value.array for value in scan.xs]
    carry, ys = jax.lax.scan(body, init, xs, **scan.settings)
    return _values([*carry, *ys], flags)


def _while(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Value]:
    flags = _while_flags(while_parts(equation, _lane_flags(inputs)))
    loop = while_parts(equation, inputs)

    def is_running(arrays: Sequence[Any]) -> Value:
        return _run(loop.cond, [*loop.cond_consts, *_values(arrays, flags)], size)[0]

    def cond(arrays: Sequence[Any]) -> Any:
        return jnp.any(is_running(arrays).array)

    def body(arrays: Sequence[Any]) -> Sequence[Any]:
        results = _run(loop.body, [*loop.body_consts, *_values(arrays, flags)], size)
        after, running = _arrays(results, flags, size), is_running(arrays)
        if not running.laned and jnp.ndim(running.array) == 0:
            return after
        return [
            jnp.where(_align(running, new, laned), new, old)
            for old, new, laned in zip(arrays, after, flags, strict=True)
        ]

    return _values(jax.lax.while_loop(cond, body, _arrays(loop.carry, flags, size)), flags)

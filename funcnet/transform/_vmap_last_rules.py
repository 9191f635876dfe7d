"""A rule for each primitive on arrays with a last axis of members, for `transform.vmap_last`."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import GatherScatterMode

from funcnet._types import Array
from funcnet.layers._product import matmul_impl, product_p
from funcnet.transform._jaxpr import bind, primitives_of

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import ClosedJaxpr, JaxprEqn

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)  # of threefry2x32
# Contractions up to this size, with results up to this many entries a lane, become sums of products.
# Beyond it a matrix is large enough for a matrix product of its own.
UNROLLED_SIZE, UNROLLED_ENTRIES = 32, 4096


class Value(NamedTuple):
    """An array, and whether its last axis is that of the members."""

    array: Any
    laned: bool


Rule: TypeAlias = Callable[["JaxprEqn", list[Value], int], Sequence[Any]]


def with_lanes(value: Value, size: int) -> Any:
    """The array with the axis of members, broadcast if it has none."""
    array = jnp.asarray(value.array)
    return array if value.laned else jnp.broadcast_to(array[..., None], (*array.shape, size))


def _aval(var: Any) -> Any:
    return var.aval


def plain(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    del size
    return bind(equation, *(value.array for value in inputs))


def by_vmap(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """Any operation, by its own `vmap` rule."""
    axes = [-1 if value.laned else None for value in inputs]
    arrays = [value.array for value in inputs]
    return jax.vmap(lambda *a: tuple(bind(equation, *a)), axes, -1, axis_size=size)(*arrays)


def _elementwise(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    return bind(equation, *_broadcast_operands(equation, inputs, size))


def _broadcast_operands(equation: "JaxprEqn", inputs: list[Value], size: int) -> list[Any]:
    shape = (*_aval(equation.outvars[0]).shape, size)

    def broadcast(value: Value) -> Any:  # an operand may be a scalar
        array = jnp.asarray(value.array)
        array = array if value.laned else array[..., None]
        missing = tuple(range(len(shape) - array.ndim))
        return jnp.broadcast_to(jnp.expand_dims(array, missing), shape)

    return [broadcast(value) for value in inputs]


def _same(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """Operations along axes counted from the front, which another axis at the end does not move."""
    return bind(equation, *(with_lanes(value, size) for value in inputs))


def _with(change: Callable[["JaxprEqn", int], dict[str, Any]]) -> Rule:
    """Operations on one array whose parameters name every axis."""

    def rule(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
        return bind(equation, *(value.array for value in inputs), **change(equation, size))

    return rule


def _broadcast(equation: "JaxprEqn", size: int) -> dict[str, Any]:
    shape = equation.params["shape"]
    dimensions = (*equation.params["broadcast_dimensions"], len(shape))
    return {"shape": (*shape, size), "broadcast_dimensions": dimensions}


def _slice(equation: "JaxprEqn", size: int) -> dict[str, Any]:
    strides = equation.params["strides"]
    return {
        "start_indices": (*equation.params["start_indices"], 0),
        "limit_indices": (*equation.params["limit_indices"], size),
        "strides": None if strides is None else (*strides, 1),
    }


def _reshape(equation: "JaxprEqn", size: int) -> dict[str, Any]:
    order = equation.params["dimensions"]
    return {
        "new_sizes": (*equation.params["new_sizes"], size),
        "dimensions": None if order is None else (*order, len(order)),
    }


def _transpose(equation: "JaxprEqn", _: int) -> dict[str, Any]:
    permutation = equation.params["permutation"]
    return {"permutation": (*permutation, len(permutation))}


def _pad(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    array, filling = inputs
    if filling.laned:
        return by_vmap(equation, inputs, size)
    config = (*equation.params["padding_config"], (0, 0, 0))
    return bind(equation, array.array, filling.array, padding_config=config)


def _gather(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """Rows of a table that all members share, in each member's own order, gathered entry by entry.

    Its `vmap` rule puts the members first, so operations on the rows would read them in strides.
    """
    table, rows = inputs
    shape, settings = _aval(equation.invars[0]).shape, equation.params
    numbers, width = settings["dimension_numbers"], math.prod(shape[1:])
    takes_rows = (
        numbers.start_index_map == numbers.collapsed_slice_dims == (0,)
        and numbers.offset_dims == tuple(range(rows.array.ndim - 2, rows.array.ndim - 2 + len(shape[1:])))
        and settings["slice_sizes"] == (1, *shape[1:])
        and settings["mode"] in (GatherScatterMode.PROMISE_IN_BOUNDS, GatherScatterMode.CLIP)
    )
    if table.laned or not takes_rows or width > UNROLLED_SIZE or shape[0] * width >= 2**31:
        return by_vmap(equation, inputs, size)
    # Axes of the result: those of the row numbers, those of a row, the members.
    row = jnp.clip(rows.array[..., 0, :], 0, shape[0] - 1)  # as XLA does, even with promise_in_bounds
    row = jnp.expand_dims(row, tuple(range(-1 - len(shape[1:]), -1)))
    column = jnp.arange(width, dtype=row.dtype).reshape(*shape[1:], 1)
    place = row * width + jnp.expand_dims(column, tuple(range(row.ndim - column.ndim)))
    return [jnp.ravel(table.array).at[place].get(mode="promise_in_bounds")]


def _product(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """A small matrix product of two arrays with lanes, as a sum of products of whole lanes."""
    left, right = inputs
    (left_summed, right_summed), (left_batch, right_batch) = equation.params["dimension_numbers"]
    if left.laned != right.laned:
        sides = (left, left_summed), (right, right_summed)
        (mine, axes), (other, others) = sides if left.laned else reversed(sides)
        if other.array.ndim == len(others):
            dtype = jnp.dtype(_aval(equation.outvars[0]).dtype)
            return [_weighted_sum(mine.array, axes, other.array, others, dtype)]
        # The members are one more free axis of one matrix: a single product, larger by that.
        (product,) = bind(equation, left.array, right.array)
        place = left.array.ndim - 1 - len(left_summed) if left.laned else product.ndim - 1
        return [jnp.moveaxis(product, place, -1)]
    summed = math.prod(left.array.shape[axis] for axis in left_summed)
    entries = math.prod(_aval(equation.outvars[0]).shape)
    if not (left.laned and right.laned) or not 0 < summed <= UNROLLED_SIZE or entries > UNROLLED_ENTRIES:
        return by_vmap(equation, inputs, size)
    shape, batch = (*_aval(equation.outvars[0]).shape, size), len(left_batch)
    free = [value.array.ndim - 1 - batch - len(left_summed) for value in inputs]
    dtype = jnp.dtype(_aval(equation.outvars[0]).dtype)
    wide = _wide(dtype)
    lefts = _terms(left.array, left_summed, left_batch, range(batch + free[0], batch + sum(free)))
    rights = _terms(right.array, right_summed, right_batch, range(batch, batch + free[0]))
    products = [
        jnp.broadcast_to(a, shape).astype(wide) * jnp.broadcast_to(b, shape).astype(wide)
        for a, b in zip(lefts, rights, strict=True)
    ]
    total = functools.reduce(jnp.add, products)
    return [(_compute_once(total) if jnp.issubdtype(wide, jnp.floating) else total).astype(dtype)]


def _compute_once(array: Array) -> Array:
    """The same numbers, which XLA computes once even if several operations read them.

    XLA would recompute a sum of products in each fusion that reads it, but it does not recompute a
    division, even by ones that it cannot see. (It removes `optimization_barrier` before fusing operations.)
    """
    return array / jax.lax.optimization_barrier(jnp.ones_like(array))


def _terms(array: Array, summed: Sequence[int], batch: Sequence[int], missing: range) -> list[Array]:
    """The array at each index of the contracted axes: [*batch, *free, lanes], `missing` axes of length 1.

    They are slices of the array in its own layout: if the contracted axes were moved to the front first,
    XLA would compute the array once more in that layout.
    """
    terms = []
    for place in np.ndindex(*(array.shape[axis] for axis in summed)):
        term = array
        for axis, i in sorted(zip(summed, place, strict=True), reverse=True):
            term = jax.lax.index_in_dim(term, i, axis, keepdims=False)
        if batch:
            left = [axis for axis in range(array.ndim) if axis not in summed]
            term = jnp.moveaxis(term, [left.index(axis) for axis in batch], range(len(batch)))
        terms.append(jnp.expand_dims(term, tuple(missing)))
    return terms


def _weighted_sum(
    array: Array, axes: Sequence[int], weights: Array, others: Sequence[int], dtype: jnp.dtype
) -> Array:
    """Sums over some axes, with weights that all members share: a matrix product would copy the array."""
    shape = [size if axis in axes else 1 for axis, size in enumerate(array.shape)]
    order = [others[axes.index(axis)] for axis in sorted(axes)]
    weights = jnp.broadcast_to(weights.transpose(order).reshape(shape), array.shape)
    wide = _wide(dtype)
    return jnp.sum(array.astype(wide) * weights.astype(wide), tuple(axes), dtype=wide).astype(dtype)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype in which a product is summed: float32 for half precision, as in a matrix product."""
    half = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    return jnp.dtype("float32") if half else dtype


def _without_barrier(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """No barrier: the operations that it would separate, a copy and a product, are one sum of lanes."""
    del equation
    return [with_lanes(value, size) for value in inputs]


def _of_rows(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """The matrix product of layers (`layers._product`), as JAX's `dot_general`."""
    avals = [_aval(var) for var in equation.invars]
    dot = jax.make_jaxpr(functools.partial(matmul_impl, **equation.params))(*avals)
    return _product(dot.jaxpr.eqns[0], inputs, size)


def random_program(equation: "JaxprEqn") -> "ClosedJaxpr | None":
    """The program that draws bits from threefry keys, or folds numbers into them.

    The rules for `vmap` of these operations put the members first.
    """
    if equation.primitive.name not in ("random_bits", "random_fold_in"):
        return None
    from jax.extend.random import threefry_prng_impl

    keys, *numbers = map(_aval, equation.invars)
    if keys.dtype != jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype:
        return None
    compute = threefry_prng_impl.random_bits if not numbers else threefry_prng_impl.fold_in
    compute = functools.partial(compute, **equation.params)
    shape = jnp.broadcast_shapes(keys.shape, *(number.shape for number in numbers))
    for _ in shape:
        compute = jax.vmap(compute)

    def of_keys(keys: Array, *numbers: Array) -> Array:
        data = jax.random.key_data(jnp.broadcast_to(keys, shape))
        result = compute(data, *(jnp.broadcast_to(number, shape) for number in numbers))
        return jax.random.wrap_key_data(result, impl="threefry2x32") if numbers else result

    return jax.make_jaxpr(of_keys)(keys, *numbers)


def _threefry(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """The 20 rounds of threefry2x32 as one kernel: JAX's loop over groups of rounds stores all arrays.

    It is a loop of one pass, so that operations which read the bits do not compute them again.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """

    def rounds(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        key0, key1, x0, x1 = state
        keys = key0, key1, key0 ^ key1 ^ np.uint32(0x1BD11BDA)
        x0, x1 = x0 + keys[0], x1 + keys[1]
        for group in range(5):
            for distance in map(np.uint32, ROTATIONS[group % 2]):
                x0 = x0 + x1
                x1 = x0 ^ (x1 << distance | x1 >> (np.uint32(32) - distance))
            x0 = x0 + keys[(group + 1) % 3]
            x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
        return key0, key1, x0, x1

    one = jax.lax.optimization_barrier(jnp.int32(1))  # XLA would remove a loop that it knows to be one pass
    state = tuple(_broadcast_operands(equation, inputs, size))
    return jax.lax.fori_loop(0, one, rounds, state)[2:]


ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "add_jaxvals", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "cbrt", "ceil", "clamp", "convert_element_type", "copy", "cos", "cosh", "digamma", "div", "eq", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le",
    "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not",
    "or", "population_count", "pow", "reduce_precision", "rem", "round", "rsqrt", "select_n",
    "shift_left", "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt",
    "square", "stop_gradient", "sub", "tan", "tanh", "xor",
)  # fmt: skip
ALONG_AXES = (
    "argmax", "argmin", "concatenate", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum",
    "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_xor",
    "rev", "sort", "squeeze",
)  # fmt: skip


@functools.cache
def rules() -> dict[Any, Rule]:
    """A rule for each primitive that has one here; all others are mapped by their own rule for `vmap`."""
    from jax.extend.core import primitives

    # JAX does not export the barrier's primitive.
    barrier = jax.make_jaxpr(jax.lax.optimization_barrier)(0.0).eqns[0].primitive
    return {
        **dict.fromkeys(primitives_of(*ELEMENTWISE), _elementwise),
        **dict.fromkeys(primitives_of(*ALONG_AXES), _same),
        barrier: _without_barrier,
        **dict.fromkeys(primitives_of("threefry2x32"), _threefry),
        primitives.broadcast_in_dim_p: _with(_broadcast),
        primitives.dot_general_p: _product,
        primitives.gather_p: _gather,
        product_p(): _of_rows,
        primitives.pad_p: _pad,
        primitives.reshape_p: _with(_reshape),
        primitives.slice_p: _with(_slice),
        primitives.transpose_p: _with(_transpose),
    }

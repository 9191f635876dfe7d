"""What each operation becomes where arrays have a last axis of members, for `transform.vmap_last`."""

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
    from jax.extend.core import Jaxpr, JaxprEqn

# Contractions up to this size, with results up to this many entries a lane, become sums of products.
# Beyond it a matrix is large enough for a matrix product of its own.
UNROLLED_SIZE, UNROLLED_ENTRIES = 32, 4096


class Value(NamedTuple):
    """An array, and whether its last axis is that of the members."""

    array: Any
    laned: bool


Rule: TypeAlias = Callable[["JaxprEqn", list[Value], int], Sequence[Any]]


def with_lanes(value: Value, size: int) -> Any:
    """The array with the members' axis, the same for each where it had none."""
    array = jnp.asarray(value.array)
    return array if value.laned else jnp.broadcast_to(array[..., None], (*array.shape, size))


def _aval(var: Any) -> Any:
    return var.aval


def plain(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    del size
    return bind(equation, *(value.array for value in inputs))


def by_vmap(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """Any operation, by its own rule for `vmap`."""
    axes = [-1 if value.laned else None for value in inputs]
    arrays = [value.array for value in inputs]
    return jax.vmap(lambda *a: tuple(bind(equation, *a)), axes, -1, axis_size=size)(*arrays)


def _elementwise(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    shape = (*_aval(equation.outvars[0]).shape, size)

    def spread(value: Value) -> Any:  # a scalar may stand among arrays
        array = jnp.asarray(value.array)
        array = array if value.laned else array[..., None]
        missing = tuple(range(len(shape) - array.ndim))
        return jnp.broadcast_to(jnp.expand_dims(array, missing), shape)

    return bind(equation, *map(spread, inputs))


def _same(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """Operations along axes counted from the front: a further axis at the end changes nothing."""
    return bind(equation, *(with_lanes(value, size) for value in inputs))


def _with(change: Callable[["JaxprEqn", int], dict[str, Any]]) -> Rule:
    """Operations on one array whose settings name every axis."""

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
    """Rows of a table that all members share, in each member's own order: number by number.

    By its rule for `vmap` the members come first, and what computes with the rows reads them in strides.
    """
    table, rows = inputs
    shape, settings = _aval(equation.invars[0]).shape, equation.params
    numbers, width = settings["dimension_numbers"], math.prod(shape[1:])
    whole_rows = (
        numbers.start_index_map == numbers.collapsed_slice_dims == (0,)
        and numbers.offset_dims == tuple(range(rows.array.ndim - 2, rows.array.ndim - 2 + len(shape[1:])))
        and settings["slice_sizes"] == (1, *shape[1:])
        and settings["mode"] in (GatherScatterMode.PROMISE_IN_BOUNDS, GatherScatterMode.CLIP)
    )
    if table.laned or not whole_rows or width > UNROLLED_SIZE or shape[0] * width >= 2**31:
        return by_vmap(equation, inputs, size)
    # Axes of the result: those of the row numbers, those of a row, the members.
    row = jnp.clip(rows.array[..., 0, :], 0, shape[0] - 1)  # as XLA does, whatever was promised
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
        (found,) = bind(equation, left.array, right.array)
        place = left.array.ndim - 1 - len(left_summed) if left.laned else found.ndim - 1
        return [jnp.moveaxis(found, place, -1)]
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
    found = functools.reduce(jnp.add, products)
    return [(_once(found) if jnp.issubdtype(wide, jnp.floating) else found).astype(dtype)]


def _once(array: Array) -> Array:
    """The same numbers, computed once however many operations read them.

    XLA would compute a sum of products anew in each; a division, even by ones that it can't see, is too
    dear for that. (It takes `optimization_barrier` away before it puts operations together.)
    """
    return array / jax.lax.optimization_barrier(jnp.ones_like(array))


def _terms(array: Array, summed: Sequence[int], batch: Sequence[int], missing: range) -> list[Array]:
    """The array at each place of what is summed over, [*batch, *free, lanes] with axes of length 1 put in.

    Slices of it as it lies: moved in front first, XLA would compute it once more in that layout.
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
    """Sums over some axes by weights that all members share: a matrix product would copy the array."""
    shape = [size if axis in axes else 1 for axis, size in enumerate(array.shape)]
    order = [others[axes.index(axis)] for axis in sorted(axes)]
    spread = jnp.broadcast_to(weights.transpose(order).reshape(shape), array.shape)
    wide = _wide(dtype)
    return jnp.sum(array.astype(wide) * spread.astype(wide), tuple(axes), dtype=wide).astype(dtype)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """Half precision is added up in float32, as a matrix product adds it up."""
    half = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    return jnp.dtype("float32") if half else dtype


def _open(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """No barrier: what it keeps apart outside, such as a copy and a product, is one sum of lanes here."""
    del equation
    return [with_lanes(value, size) for value in inputs]


def _of_rows(equation: "JaxprEqn", inputs: list[Value], size: int) -> Sequence[Any]:
    """The product that layers take (`layers._product`), as the one that JAX has."""
    avals = [_aval(var) for var in equation.invars]
    dot = jax.make_jaxpr(functools.partial(matmul_impl, **equation.params))(*avals)
    return _product(dot.jaxpr.eqns[0], inputs, size)


def random_bits_of(equation: "JaxprEqn") -> tuple["Jaxpr", Sequence[Any]] | None:
    """How bits are drawn from a key of JAX's own kind: its rule for `vmap` puts the members first."""
    if equation.primitive.name != "random_bits":
        return None
    from jax.extend.random import threefry_prng_impl

    key = _aval(equation.invars[0])
    if key.shape or key.dtype != jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype:
        return None
    draw = functools.partial(threefry_prng_impl.random_bits, **equation.params)
    traced = jax.make_jaxpr(lambda key: draw(jax.random.key_data(key)))(key)
    return traced.jaxpr, traced.consts


ELEMENTWISE = (
    *(
        "abs",
        "acos",
        "acosh",
        "add",
        "add_jaxvals",
        "and",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
    ),
    *(
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "cos",
        "cosh",
        "digamma",
        "div",
        "eq",
        "erf",
        "erf_inv",
    ),
    *(
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "lgamma",
        "log",
    ),
    *("log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or"),
    *("population_count", "pow", "reduce_precision", "rem", "round", "rsqrt", "select_n", "shift_left"),
    *("shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square"),
    *("stop_gradient", "sub", "tan", "tanh", "threefry2x32", "xor"),
)
ALONG_AXES = (
    *("argmax", "argmin", "concatenate", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"),
    *("reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_xor"),
    *("rev", "sort", "squeeze"),
)


def table_of_rules() -> dict[Any, Rule]:
    """The rule of each primitive that has one; all others are mapped by their own rule for `vmap`."""
    from jax.extend.core import primitives

    barrier = jax.make_jaxpr(jax.lax.optimization_barrier)(0.0).eqns[0].primitive  # is not among them
    return {
        **dict.fromkeys(primitives_of(*ELEMENTWISE), _elementwise),
        **dict.fromkeys(primitives_of(*ALONG_AXES), _same),
        barrier: _open,
        primitives.broadcast_in_dim_p: _with(_broadcast),
        primitives.dot_general_p: _product,
        primitives.gather_p: _gather,
        product_p(): _of_rows,
        primitives.pad_p: _pad,
        primitives.reshape_p: _with(_reshape),
        primitives.slice_p: _with(_slice),
        primitives.transpose_p: _with(_transpose),
    }

"""A matrix product that stays one product under `vmap` and is cheap to differentiate."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from funcnet import _mesh
from funcnet._types import Array

TRANSPOSE_MAX_SIZE, TRANSPOSE_MAX_ENTRIES = 2**15, 2**14
"""Up to this many entries of x, and of the weight's gradient, x is transposed before the product.

XLA's matrix products for CPUs contract the last axis of the first factor. Other layouts go to an older
library, which takes up to twice as long for a small product, and less time for a large one.
"""


def product(x: Array, weight: Array) -> Array:
    """`x @ weight` for x of shape [..., in] and a weight of shape [in, out] or [in].

    All leading axes are merged into one, including those that `vmap` adds. The gradient of a product over
    several axes moves `out` in front of them before it multiplies, and on CPUs that copy costs more than
    the product: a training step of a linear layer over [64, 32, 64] takes 2.3 times as long. A single
    vector is reshaped to one row, too: JAX's own gradient for its weight is transposed and copied.
    """
    if weight is None:
        raise TypeError(
            "weight must be an array, got None. Initialize the model: net.init(jax.random.key(0))."
        )
    if x.ndim < 1 or weight.ndim < 2 or x.dtype != weight.dtype or _mesh.in_shard_map():
        return jnp.matmul(x, weight)
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    y = product_p().bind(_merge_leading_axes(x), weight, precision=precision)
    return y.reshape(*x.shape[:-1], weight.shape[-1])


def _merge_leading_axes(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def matmul_impl(x: Array, weight: Array, *, precision: Any) -> Array:
    """The implementation of the primitive."""
    return jax.lax.dot(x, weight, precision=precision)


def _abstract_eval(x: Any, weight: Any, *, precision: Any) -> Any:
    del precision
    return x.update(shape=(x.shape[0], weight.shape[1]), weak_type=False)


def _batch(args: tuple[Array, Array], axes: tuple[Any, Any], *, precision: Any) -> tuple[Array, int]:
    """Batching rule: a mapped x adds rows; with a mapped weight there is one product for each weight."""
    (x, weight), (x_axis, weight_axis) = args, axes
    if weight_axis is not None:
        return jax.vmap(lambda x, weight: matmul_impl(x, weight, precision=precision), axes)(x, weight), 0
    x = jnp.moveaxis(x, x_axis, 0)
    y = product_p().bind(_merge_leading_axes(x), weight, precision=precision)
    return y.reshape(*x.shape[:-1], weight.shape[-1]), 0


def _transpose_x(cotangent: Array, x: Any, weight: Array, *, precision: Any) -> Array:
    """Transpose rule for x: the cotangent of x."""
    return product_p().bind(cotangent, weight.T, precision=precision)


def _transpose_weight(cotangent: Array, x: Array, weight: Any, *, precision: Any) -> Array:
    """Transpose rule for the weight: the cotangent of the weight."""
    entries = x.shape[1] * cotangent.shape[1]
    # A named axis of `jax.export` may have any length.
    small = isinstance(x.size, int) and x.size <= TRANSPOSE_MAX_SIZE and entries <= TRANSPOSE_MAX_ENTRIES
    if small and x.dtype == jnp.float32 and jax.default_backend() == "cpu":
        # Without the barrier XLA would fuse transpose and product into one product again.
        return jax.lax.dot(jax.lax.optimization_barrier(x.T), cotangent, precision=precision)
    return jax.lax.dot_general(x, cotangent, (((0,), (0,)), ((), ())), precision=precision)


@functools.cache
def product_p() -> Any:
    """The primitive: x [rows, in] @ weight [in, out] is [rows, out]."""
    from jax.extend.core import Primitive  # takes 25 ms, so it is imported on first use

    primitive = Primitive("product")
    primitive.def_impl(matmul_impl)
    primitive.def_abstract_eval(_abstract_eval)
    ad.defbilinear(primitive, _transpose_x, _transpose_weight)
    batching.primitive_batchers[primitive] = _batch
    mlir.register_lowering(primitive, mlir.lower_fun(matmul_impl, multiple_results=False))
    return primitive

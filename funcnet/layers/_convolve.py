"""One convolution, two formulations: patches times a matrix for CPUs, XLA's own elsewhere."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet._types import Array
from funcnet.layers._windows import Ends, padded, shifted, spatial_axes


def convolve(
    x: Array, weight: Array, stride: Sequence[int], added: Ends, dilation: Sequence[int], groups: int = 1
) -> Array:
    """Σ over places and input channels: [..., *spatial, in] with [*kernel, in / groups, out].

    XLA's convolution on CPUs loses a factor of 20 inside loops, and every training here is a loop.
    The backend is read while tracing. `jax.lax.platform_dependent` would know it better, but is a cond:
    differentiated, it keeps what both branches need. Both are right on every backend, so that a wrong
    guess costs time and no digits.
    """
    dtype = jnp.promote_types(x.dtype, weight.dtype)
    by_platform = by_patches if jax.default_backend() == "cpu" else by_xla
    return by_platform(x.astype(dtype), weight.astype(dtype), stride, added, dilation, groups)


def by_patches(
    x: Array, weight: Array, stride: Sequence[int], added: Ends, dilation: Sequence[int], groups: int
) -> Array:
    """The windows' contents side by side on the channel axis, then one matrix product.

    One spatial axis after another: for 3 by 3 that is six slices and, backwards, six sums in place of nine.
    """
    *kernel, inputs, out = weight.shape
    x = padded(x, added)
    for i in reversed(range(len(kernel))):
        axis = spatial_axes(len(kernel))[i]
        x = jnp.concatenate(shifted(x, axis, kernel[i], stride[i], dilation[i]), axis=-1)
    if groups == 1:
        return jnp.matmul(x, weight.reshape(-1, out))
    x = x.reshape(*x.shape[:-1], -1, groups, inputs)
    weight = weight.reshape(-1, inputs, groups, out // groups)
    y = jnp.einsum("...pgi,pigo->...go", x, weight)
    return y.reshape(*y.shape[:-2], out)


def by_xla(
    x: Array, weight: Array, stride: Sequence[int], added: Ends, dilation: Sequence[int], groups: int
) -> Array:
    """`jax.lax.conv_general_dilated`, the leading axes as its one batch axis."""
    spatial = "DHW"[-len(stride) :]
    batch = x.shape[: x.ndim - len(stride) - 1]
    y = jax.lax.conv_general_dilated(
        x.reshape(-1, *x.shape[len(batch) :]),
        weight,
        stride,
        added,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )
    return y.reshape(*batch, *y.shape[1:])

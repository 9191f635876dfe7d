"""One convolution, three formulations: matrix products for CPUs, XLA's own elsewhere."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from funcnet._types import Array
from funcnet.layers._product import product
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
    way = by_xla if jax.default_backend() != "cpu" else _product_for(weight, stride, groups)
    return way(x.astype(dtype), weight.astype(dtype), stride, added, dilation, groups)


def _product_for(weight: Array, stride: Sequence[int], groups: int) -> Callable[..., Array]:
    """The product that writes fewer numbers for each place; if they write as many, that by rows is faster.

    Measured for 12 shapes of 3 by 3 and 5 by 5 kernels, 1 to 64 channels in and 16 to 256 out: it was the
    faster one in all of them (docs/performance.md).
    """
    rows, *across, inputs, out = weight.shape
    row = math.prod(across) * inputs
    return by_rows if groups == 1 and stride[0] == 1 and row + rows * out <= rows * row else by_patches


def by_patches(
    x: Array, weight: Array, stride: Sequence[int], added: Ends, dilation: Sequence[int], groups: int
) -> Array:
    """The windows' contents side by side on the channel axis, then one matrix product."""
    inputs, out = weight.shape[-2:]
    x = _side_by_side(padded(x, added), weight.shape[:-2], stride, dilation)
    if groups == 1:
        return product(x, weight.reshape(-1, out))
    x = x.reshape(*x.shape[:-1], -1, groups, inputs)
    weight = weight.reshape(-1, inputs, groups, out // groups)
    y = jnp.einsum("...pgi,pigo->...go", x, weight)
    return y.reshape(*y.shape[:-2], out)


def by_rows(
    x: Array, weight: Array, stride: Sequence[int], added: Ends, dilation: Sequence[int], groups: int
) -> Array:
    """One row of the windows side by side, its product with every row of the kernel, and the sum of them.

    For a stride of 1 along the first spatial axis, and one group.
    """
    del groups
    rows, *across, _, out = weight.shape
    x = _side_by_side(padded(x, added), across, stride[1:], dilation[1:])
    by_row = jnp.moveaxis(weight.reshape(rows, -1, out), 0, 1).reshape(-1, rows * out)
    each = shifted(product(x, by_row), spatial_axes(len(stride))[0], rows, 1, dilation[0])
    return functools.reduce(jnp.add, (y[..., i * out : (i + 1) * out] for i, y in enumerate(each)))


def _side_by_side(x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Array:
    """What a window sees along its last `len(kernel)` spatial axes, on the channel axis.

    One axis after another: for 3 by 3 that is six slices and, backwards, six sums in place of nine.
    """
    for i in reversed(range(len(kernel))):
        axis = spatial_axes(len(kernel))[i]
        x = jnp.concatenate(shifted(x, axis, kernel[i], stride[i], dilation[i]), axis=-1)
    return x


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

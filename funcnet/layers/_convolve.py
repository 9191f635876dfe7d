"""Convolution in three formulations: two matrix products for CPUs, XLA's own elsewhere."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from funcnet._types import Array
from funcnet.layers._product import product
from funcnet.layers._windows import ExplicitPadding, pad, spatial_axes, window_slices


def convolve(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    pads: ExplicitPadding,
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Σ over kernel elements and input channels: [..., *spatial, in] with [*kernel, in / groups, out].

    XLA's convolution on CPUs is 20 times slower inside loops, and every training run is a loop. The
    backend is read at trace time. `jax.lax.platform_dependent` would be exact, but it is a cond: under
    differentiation it stores the residuals of both branches. All formulations are correct on every
    backend, so a wrong guess only costs time.
    """
    dtype = jnp.promote_types(x.dtype, weight.dtype)
    method = by_xla if jax.default_backend() != "cpu" else _cpu_method(weight, stride, groups)
    return method(x.astype(dtype), weight.astype(dtype), stride, pads, dilation, groups)


def _cpu_method(weight: Array, stride: Sequence[int], groups: int) -> Callable[..., Array]:
    """The formulation that writes fewer numbers per output position; by rows if both write the same.

    Measured on 12 shapes with kernels of 3 by 3 and 5 by 5, 1 to 64 input channels and 16 to 256 output
    channels: this choice was the faster one for all of them (experiments/benchmarks/NOTES.md).
    """
    rows, *across, inputs, out = weight.shape
    row = math.prod(across) * inputs
    return by_rows if groups == 1 and stride[0] == 1 and row + rows * out <= rows * row else by_patches


def by_patches(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    pads: ExplicitPadding,
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """im2col: the patches concatenated on the channel axis, then one matrix product."""
    inputs, out = weight.shape[-2:]
    x = _concatenate_patches(pad(x, pads), weight.shape[:-2], stride, dilation)
    if groups == 1:
        return product(x, weight.reshape(-1, out))
    places = math.prod(weight.shape[:-2])
    x = x.reshape(*x.shape[:-1], places, groups, inputs)
    weight = weight.reshape(places, inputs, groups, out // groups)
    y = jnp.einsum("...pgi,pigo->...go", x, weight)
    return y.reshape(*y.shape[:-2], out)


def by_rows(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    pads: ExplicitPadding,
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """Row-wise im2col: one row of each patch times every row of the kernel, then the sum over rows.

    Requires a stride of 1 along the first spatial axis, and one group.
    """
    del groups
    rows, *across, _, out = weight.shape
    x = _concatenate_patches(pad(x, pads), across, stride[1:], dilation[1:])
    by_row = jnp.moveaxis(weight.reshape(rows, -1, out), 0, 1).reshape(-1, rows * out)
    products = window_slices(product(x, by_row), spatial_axes(len(stride))[0], rows, 1, dilation[0])
    return functools.reduce(jnp.add, (y[..., i * out : (i + 1) * out] for i, y in enumerate(products)))


def _concatenate_patches(
    x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Array:
    """The patches along the last `len(kernel)` spatial axes, concatenated on the channel axis.

    One axis at a time: a 3 by 3 kernel takes six slices, and six sums in the backward pass, instead of
    nine.
    """
    for i in reversed(range(len(kernel))):
        axis = spatial_axes(len(kernel))[i]
        x = jnp.concatenate(window_slices(x, axis, kernel[i], stride[i], dilation[i]), axis=-1)
    return x


def by_xla(
    x: Array,
    weight: Array,
    stride: Sequence[int],
    pads: ExplicitPadding,
    dilation: Sequence[int],
    groups: int,
) -> Array:
    """`jax.lax.conv_general_dilated`, with all leading axes merged into one batch axis."""
    spatial = "DHW"[-len(stride) :]
    batch = x.shape[: x.ndim - len(stride) - 1]
    y = jax.lax.conv_general_dilated(
        x.reshape(-1, *x.shape[len(batch) :]),
        weight,
        stride,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )
    return y.reshape(*batch, *y.shape[1:])

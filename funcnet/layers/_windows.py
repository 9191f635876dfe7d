"""Windows that slide over the spatial axes of [..., *spatial, channels]: sizes, padding, slices."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Array

Sizes: TypeAlias = int | tuple[int, ...]
"""One number for all spatial axes, or one for each."""

Padding: TypeAlias = Literal["SAME", "VALID"] | int | tuple[int | tuple[int, int], ...]
"""How the input is padded: "VALID" not at all; "SAME" to an output of ceil(size / stride), with an odd
entry at the end; a number for both ends of every axis; or for each axis a number or a pair (before,
after)."""

ExplicitPadding: TypeAlias = list[tuple[int, int]]
"""(before, after) for each spatial axis."""


def sizes(name: str, value: Sizes, axes: int) -> tuple[int, ...]:
    """`value` as one positive number for each of `axes` spatial axes."""
    by_axis = value if isinstance(value, tuple) else (value,) * axes
    _check.length(name, by_axis, axes)
    for size in by_axis:
        _check.positive(name, size)
    return by_axis


def check_padding(value: Padding, axes: int) -> None:
    """Raise unless `value` is a valid padding of `axes` spatial axes."""
    if isinstance(value, str):
        _check.choice("padding", value, ("SAME", "VALID"))
        return
    by_axis = value if isinstance(value, tuple) else (value,) * axes
    _check.length("padding", by_axis, axes)
    for pair in by_axis:
        ends = pair if isinstance(pair, tuple) else (pair, pair)
        _check.length("each pair of padding", ends, 2)
        for end in ends:
            _check.not_negative("padding", end)


def explicit_padding(
    padding: Padding, spatial: Sequence[int], extents: Sequence[int], stride: Sequence[int]
) -> ExplicitPadding:
    """The padding before and after each axis; an extent is the length that one window covers."""
    if padding == "VALID":
        return [(0, 0)] * len(spatial)
    if padding == "SAME":
        totals = [
            max((-(-n // s) - 1) * s + extent - n, 0)
            for n, extent, s in zip(spatial, extents, stride, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    by_axis = padding if isinstance(padding, tuple) else (padding,) * len(spatial)
    return [pair if isinstance(pair, tuple) else (pair, pair) for pair in by_axis]


def check_fit(layer: str, spatial: Iterable[int], window: Iterable[int]) -> None:
    """Raise if a window is longer than the padded axis that it slides over, or that can't be allocated."""
    sizes, extents = tuple(spatial), tuple(window)
    if max(sizes) > _check.INT32_MAX:
        raise ValueError(
            f"padding, kernel_size and dilation of {layer} must pad each axis to fewer than 2**31 entries, "
            f"got {sizes}."
        )
    # Of one example and channel; the others are of the input's size.
    _check.fits_in_memory(f"{sizes} padded entries of {layer}", 2 * math.prod(sizes))
    if any(n < extent for n, extent in zip(sizes, extents, strict=True)):
        raise ValueError(
            f"the window of {layer} must not be larger than its padded input, got a window of {extents} "
            f"and an input of {sizes}. Use a smaller window, larger inputs, fewer layers that shrink them, "
            "or padding='SAME'."
        )


def check_below(padding: Padding, window: tuple[int, ...]) -> None:
    """Raise if a window could lie entirely in the padding."""
    pads = explicit_padding(padding, window, window, window)
    for size, (before, after) in zip(window, pads, strict=True):
        if max(before, after) >= size:
            raise ValueError(
                f"padding must be smaller than the window, got padding={max(before, after)} and "
                f"window={size}. A window in the padding alone has no entries: try padding={size - 1}."
            )


def extents(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The length that a kernel covers on each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def pad(x: Array, pads: ExplicitPadding, value: float = 0.0, between: Sequence[int] | None = None) -> Array:
    """`x` with `value` added before and after its spatial axes, and `between` neighbouring entries."""
    interior = (0,) * len(pads) if between is None else between
    config = [(low, high, gap) for (low, high), gap in zip(pads, interior, strict=True)]
    config = [(0, 0, 0)] * (x.ndim - len(pads) - 1) + config + [(0, 0, 0)]
    return x if not np.any(config) else jax.lax.pad(x, jnp.asarray(value, x.dtype), config)


def window_slices(x: Array, axis: int, size: int, stride: int, dilation: int = 1) -> list[Array]:
    """For each position in a window of `size`, the entries of all windows along `axis` there."""
    windows = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    return [
        jax.lax.slice_in_dim(x, start, start + (windows - 1) * stride + 1, stride, axis)
        for start in range(0, size * dilation, dilation)
    ]


def spatial_axes(axes: int) -> tuple[int, ...]:
    """The spatial axes, counted from the end: (-3, -2) for two."""
    return tuple(range(-axes - 1, -1))

"""Windows that slide over the spatial axes of [..., *spatial, channels]: places, sizes, padding."""

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
"""How far the input is widened: "VALID" not at all; "SAME" so that stride 1 keeps the size and stride s
gives ceil(size / s), the odd one at the end; a number for both ends of every axis; or for each axis a
number or a pair (before, after)."""

Ends: TypeAlias = list[tuple[int, int]]


def sizes(name: str, value: Sizes, axes: int) -> tuple[int, ...]:
    """One positive number for each of `axes` spatial axes."""
    each = value if isinstance(value, tuple) else (value,) * axes
    _check.length(name, each, axes)
    for size in each:
        _check.positive(name, size)
    return each


def check_padding(value: Padding, axes: int) -> None:
    """Raise unless `value` is a padding for `axes` spatial axes."""
    if isinstance(value, str):
        _check.choice("padding", value, ("SAME", "VALID"))
        return
    each = value if isinstance(value, tuple) else (value,) * axes
    _check.length("padding", each, axes)
    for pair in each:
        ends = pair if isinstance(pair, tuple) else (pair, pair)
        _check.length("each pair of padding", ends, 2)
        for end in ends:
            _check.not_negative("padding", end)


def ends(padding: Padding, spatial: Sequence[int], extents: Sequence[int], stride: Sequence[int]) -> Ends:
    """What is added before and after each axis; an extent is the length that one window covers."""
    if padding == "VALID":
        return [(0, 0)] * len(spatial)
    if padding == "SAME":
        lacking = [
            max((-(-n // s) - 1) * s + extent - n, 0)
            for n, extent, s in zip(spatial, extents, stride, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in lacking]
    each = padding if isinstance(padding, tuple) else (padding,) * len(spatial)
    return [pair if isinstance(pair, tuple) else (pair, pair) for pair in each]


def check_fit(layer: str, spatial: Iterable[int], covered: Iterable[int]) -> None:
    """Windows no longer than the (padded) axes that they slide over."""
    sizes, extents = tuple(spatial), tuple(covered)
    if any(n < extent for n, extent in zip(sizes, extents, strict=True)):
        raise ValueError(
            f"{layer} has a window of {extents}, and what it slides over is {sizes}, padding included. "
            "Take a smaller window, larger inputs, fewer layers that shrink them, or padding='SAME'."
        )


def check_below(padding: Padding, window: tuple[int, ...]) -> None:
    """Raise if a window could lie in the padding alone."""
    for size, (before, after) in zip(window, ends(padding, window, window, window), strict=True):
        if max(before, after) >= size:
            raise ValueError(
                f"padding={max(before, after)} is not below window={size}, as it must be: a window in the "
                "padding alone has no entries."
            )


def extents(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The length that a kernel covers on each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def padded(x: Array, added: Ends, value: float = 0.0, between: Sequence[int] | None = None) -> Array:
    """`x` with `value` before and after its spatial axes, and `between` its neighbours."""
    inner = (0,) * len(added) if between is None else between
    config = [(low, high, gap) for (low, high), gap in zip(added, inner, strict=True)]
    config = [(0, 0, 0)] * (x.ndim - len(added) - 1) + config + [(0, 0, 0)]
    return x if not np.any(config) else jax.lax.pad(x, jnp.asarray(value, x.dtype), config)


def shifted(x: Array, axis: int, size: int, stride: int, dilation: int = 1) -> list[Array]:
    """For each place in a window of `size`, what the windows along `axis` see there, in order."""
    windows = (x.shape[axis] - (size - 1) * dilation - 1) // stride + 1
    return [
        jax.lax.slice_in_dim(x, start, start + (windows - 1) * stride + 1, stride, axis)
        for start in range(0, size * dilation, dilation)
    ]


def spatial_axes(axes: int) -> tuple[int, ...]:
    """The spatial axes, counted from the end: (-3, -2) for two."""
    return tuple(range(-axes - 1, -1))

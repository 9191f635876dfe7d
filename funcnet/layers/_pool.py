import functools
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._dtype import as_floating, wide
from funcnet.layers._largest import beats, largest
from funcnet.layers._windows import (
    Ends,
    Padding,
    Sizes,
    check_below,
    check_fit,
    check_padding,
    ends,
    padded,
    shifted,
    sizes,
    spatial_axes,
)

WIDE = 8
"""Windows up to here are combined entry by entry, faster in loops; of wider ones that is a long program."""


class _Pool(Module):
    """What all pools share: their fields, the checks of them, and where the windows lie."""

    axes: ClassVar[int]
    window: Sizes
    stride: Sizes | None = None
    _: KW_ONLY
    padding: Padding = "VALID"

    def __post_init__(self) -> None:
        window, _ = self._settings()
        check_padding(self.padding, self.axes)
        check_below(self.padding, window)

    def _settings(self) -> list[tuple[int, ...]]:
        """Window and stride by axis."""
        stride = self.window if self.stride is None else self.stride
        return [sizes(name, s, self.axes) for name, s in {"window": self.window, "stride": stride}.items()]

    def _ends(self, x: Array) -> Ends:
        name = type(self).__name__
        _check.rank(name, x, self.axes + 1, ("length", "height, width")[self.axes - 1] + ", channels")
        window, stride = self._settings()
        spatial = x.shape[-self.axes - 1 : -1]
        added = ends(self.padding, spatial, window, stride)
        slid = [n + low + high for n, (low, high) in zip(spatial, added, strict=True)]
        check_fit(name, slid, window)
        return added

    def _max(self, x: Array) -> Array:
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        least = -jnp.inf if floating else jnp.iinfo(x.dtype).min
        x, (window, stride) = padded(x, self._ends(x), least), self._settings()
        if floating and window == stride and max(window) <= WIDE:
            return largest(x, window)
        return self._over_windows(x, lambda a, b: jnp.where(beats(b, a), b, a), jax.lax.max, least)

    def _mean(self, x: Array) -> Array:
        added = self._ends(x)
        total = self._over_windows(padded(wide(x), added), jnp.add, jax.lax.add, 0)
        real = np.ones((*x.shape[-self.axes - 1 : -1], 1), total.dtype)
        counts = self._over_windows(padded(jnp.asarray(real), added), jnp.add, jax.lax.add, 0)
        return as_floating(total / jnp.broadcast_to(counts, total.shape), x.dtype)

    def _over_windows(
        self, x: Array, combine: Callable[[Array, Array], Array], whole: Any, start: float
    ) -> Array:
        """`combine` over each window, one spatial axis after another, the last one first.

        Args:
            combine: of two entries.
            whole: the same as one of XLA's, for wide windows.
            start: what changes nothing.
        """
        settings = zip(spatial_axes(self.axes), *self._settings(), strict=True)
        for axis, window, stride in reversed(list(settings)):
            if window > WIDE:
                size, step = [1] * x.ndim, [1] * x.ndim
                size[axis], step[axis] = window, stride
                x = jax.lax.reduce_window(x, np.asarray(start, x.dtype), whole, size, step, "VALID")
                continue
            seen = _cut(x, axis, window) if window == stride else shifted(x, axis, window, stride)
            x = functools.reduce(combine, seen)
        return x


def _cut(x: Array, axis: int, window: int) -> list[Array]:
    """Windows side by side: a reshape, whose gradient XLA finds easier than that of strided slices."""
    whole = x.shape[axis] // window
    x = jax.lax.slice_in_dim(x, 0, whole * window, axis=axis)
    after = x.ndim + axis + 1
    x = x.reshape(*x.shape[: after - 1], whole, window, *x.shape[after:])
    return [jax.lax.index_in_dim(x, i, after, keepdims=False) for i in range(window)]


class MaxPool1d(_Pool):
    """The largest entry of each window of a sequence, each channel by itself.

    Args:
        window: length of the windows.
        stride: steps between windows; the window's length when left out.
        padding: "VALID" (none; what fills no window at the end is left out), "SAME", a number for both
            ends, or ((before, after),). Padding is never the largest.

    Returns:
        When called on x of shape [..., length, channels]: [..., windows, channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range or x is shorter than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.MaxPool1d(2)(jnp.array([1.0, 3.0, 2.0, 0.0, 9.0])[:, None])[:, 0].tolist()
        [3.0, 2.0]

    Source: Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature hierarchies
    with applications to object recognition", 2007.
    """

    axes: ClassVar[int] = 1

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._max(x)


class MaxPool2d(_Pool):
    """The largest entry of each window of an image, each channel by itself.

    Where several are largest, the gradient goes to the first of them, row by row.

    Args:
        window: height and width of the windows, or one number for both.
        stride: steps between windows, one number or one for each axis; the window when left out.
        padding: "VALID" (none; what fills no window at the end is left out), "SAME", a number for all
            ends, or for each axis a number or a pair (before, after). Padding is never the largest.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., rows, columns, channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range or x is smaller than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> fn.layers.MaxPool2d(2)(x)[..., 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]

    Source: Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature hierarchies
    with applications to object recognition", 2007.
    """

    axes: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._max(x)


class AvgPool1d(_Pool):
    """The mean of each window of a sequence, each channel by itself.

    Args:
        window: length of the windows.
        stride: steps between windows; the window's length when left out.
        padding: "VALID" (none; what fills no window at the end is left out), "SAME", a number for both
            ends, or ((before, after),). Padding doesn't count: the mean is that of the real entries.

    Returns:
        When called on x of shape [..., length, channels]: [..., windows, channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range or x is shorter than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.AvgPool1d(2, padding="SAME")(jnp.array([1.0, 3.0, 2.0])[:, None])[:, 0].tolist()
        [2.0, 2.0]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    axes: ClassVar[int] = 1

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._mean(x)


class AvgPool2d(_Pool):
    """The mean of each window of an image, each channel by itself.

    Args:
        window: height and width of the windows, or one number for both.
        stride: steps between windows, one number or one for each axis; the window when left out.
        padding: "VALID" (none; what fills no window at the end is left out), "SAME", a number for all
            ends, or for each axis a number or a pair (before, after). Padding doesn't count: the mean
            is that of the real entries.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., rows, columns, channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range or x is smaller than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> fn.layers.AvgPool2d(2)(x)[..., 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    axes: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._mean(x)

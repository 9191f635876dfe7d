import functools
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._dtype import as_floating, wide
from funcnet.layers._largest import exceeds, window_max
from funcnet.layers._windows import (
    ExplicitPadding,
    Padding,
    Sizes,
    check_below,
    check_fit,
    check_padding,
    explicit_padding,
    pad,
    sizes,
    spatial_axes,
    window_slices,
)

MAX_UNROLLED_WINDOW = 8
"""Windows up to this length are reduced entry by entry, which is faster in loops. Longer ones would make a
long program and use `jax.lax.reduce_window`."""


class _Pool(Module):
    """The fields, checks and window arithmetic that all pools share."""

    num_spatial_dims: ClassVar[int]
    window: Sizes
    stride: Sizes | None = None
    _: KW_ONLY
    padding: Padding = "VALID"

    def __post_init__(self) -> None:
        window, _ = self._settings()
        check_padding(self.padding, self.num_spatial_dims)
        check_below(self.padding, window)

    def _settings(self) -> list[tuple[int, ...]]:
        """Window and stride, one entry for each spatial axis."""
        stride = self.window if self.stride is None else self.stride
        settings = {"window": self.window, "stride": stride}
        return [sizes(name, value, self.num_spatial_dims) for name, value in settings.items()]

    def _check_input(self, x: Array) -> Array:
        dims = self.num_spatial_dims
        axes = ("length", "height, width")[dims - 1] + ", channels"
        return _check.rank(type(self).__name__, x, dims + 1, axes)

    def _padding(self, x: Array) -> ExplicitPadding:
        name, dims = type(self).__name__, self.num_spatial_dims
        window, stride = self._settings()
        spatial = x.shape[-dims - 1 : -1]
        pads = explicit_padding(self.padding, spatial, window, stride)
        padded_sizes = [n + low + high for n, (low, high) in zip(spatial, pads, strict=True)]
        check_fit(name, padded_sizes, window)
        return pads

    def _max(self, x: Array) -> Array:
        x = self._check_input(x)
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        lowest = -jnp.inf if floating else False if x.dtype == bool else jnp.iinfo(x.dtype).min
        x, (window, stride) = pad(x, self._padding(x), lowest), self._settings()
        if floating and window == stride and max(window) <= MAX_UNROLLED_WINDOW:
            return window_max(x, window)
        return self._reduce_windows(x, lambda a, b: jnp.where(exceeds(b, a), b, a), jax.lax.max, lowest)

    def _mean(self, x: Array) -> Array:
        x = self._check_input(x)
        pads = self._padding(x)
        total = self._reduce_windows(pad(wide(x), pads), jnp.add, jax.lax.add, 0)
        ones = np.ones((*x.shape[-self.num_spatial_dims - 1 : -1], 1), total.dtype)
        counts = self._reduce_windows(pad(jnp.asarray(ones), pads), jnp.add, jax.lax.add, 0)
        return as_floating(total / jnp.broadcast_to(counts, total.shape), x.dtype)

    def _reduce_windows(
        self, x: Array, combine: Callable[[Array, Array], Array], lax_combine: Any, identity: float
    ) -> Array:
        """Reduce each window by `combine`, one spatial axis at a time, the last one first.

        Args:
            combine: function of two arrays.
            lax_combine: the same function from `jax.lax`, for long windows.
            identity: identity element of the reduction.
        """
        settings = zip(spatial_axes(self.num_spatial_dims), *self._settings(), strict=True)
        for axis, window, stride in reversed(list(settings)):
            if window > MAX_UNROLLED_WINDOW:
                size, step = [1] * x.ndim, [1] * x.ndim
                size[axis], step[axis] = window, stride
                x = jax.lax.reduce_window(
                    x, np.asarray(identity, x.dtype), lax_combine, size, step, "VALID"
                )
                continue
            disjoint = window == stride
            entries = (
                _split_windows(x, axis, window) if disjoint else window_slices(x, axis, window, stride)
            )
            x = functools.reduce(combine, entries)
        return x


def _split_windows(x: Array, axis: int, window: int) -> list[Array]:
    """`window_slices` of adjacent windows by a reshape, whose gradient is cheaper than that of slices."""
    count = x.shape[axis] // window
    x = jax.lax.slice_in_dim(x, 0, count * window, axis=axis)
    after = x.ndim + axis + 1
    x = x.reshape(*x.shape[: after - 1], count, window, *x.shape[after:])
    return [jax.lax.index_in_dim(x, i, after, keepdims=False) for i in range(window)]


class MaxPool1d(_Pool):
    """The maximum of each window of a sequence, separately for each channel.

    Args:
        window: length of the windows.
        stride: step between neighbouring windows; `window` by default.
        padding: "VALID" (none; an incomplete window at the end is dropped), "SAME", a number for both
            ends, or ((before, after),). Padding is never the maximum.

    Returns:
        When called on x of shape [..., length, channels]: [..., windows, channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range or x is shorter than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.MaxPool1d(2)(jnp.array([1.0, 3.0, 2.0, 0.0, 9.0])[:, None])[:, 0].tolist()
        [3.0, 2.0]

    Source: Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature hierarchies
    with applications to object recognition", 2007.
    """

    num_spatial_dims: ClassVar[int] = 1

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self._max(x)


class MaxPool2d(_Pool):
    """The maximum of each window of an image, separately for each channel.

    If several entries are equal to the maximum, the gradient goes to the first in row-major order.

    Args:
        window: height and width of the windows, or one number for both.
        stride: step between neighbouring windows, one number or one for each axis; `window` by default.
        padding: "VALID" (none; an incomplete window at the end is dropped), "SAME", a number for all
            ends, or for each axis a number or a pair (before, after). Padding is never the maximum.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., rows, columns, channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range or x is smaller than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> fn.layers.MaxPool2d(2)(x)[..., 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]

    Source: Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature hierarchies
    with applications to object recognition", 2007.
    """

    num_spatial_dims: ClassVar[int] = 2

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self._max(x)


class AvgPool1d(_Pool):
    """The mean of each window of a sequence, separately for each channel.

    Args:
        window: length of the windows.
        stride: step between neighbouring windows; `window` by default.
        padding: "VALID" (none; an incomplete window at the end is dropped), "SAME", a number for both
            ends, or ((before, after),). The mean is taken over the entries of x alone, without padding.

    Returns:
        When called on x of shape [..., length, channels]: [..., windows, channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range or x is shorter than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.AvgPool1d(2, padding="SAME")(jnp.array([1.0, 3.0, 2.0])[:, None])[:, 0].tolist()
        [2.0, 2.0]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    num_spatial_dims: ClassVar[int] = 1

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self._mean(x)


class AvgPool2d(_Pool):
    """The mean of each window of an image, separately for each channel.

    Args:
        window: height and width of the windows, or one number for both.
        stride: step between neighbouring windows, one number or one for each axis; `window` by default.
        padding: "VALID" (none; an incomplete window at the end is dropped), "SAME", a number for all
            ends, or for each axis a number or a pair (before, after). The mean is taken over the entries of
            x alone, without padding.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., rows, columns, channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range or x is smaller than the window.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> fn.layers.AvgPool2d(2)(x)[..., 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """

    num_spatial_dims: ClassVar[int] = 2

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self._mean(x)

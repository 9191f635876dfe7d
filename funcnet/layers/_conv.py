import math
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import ClassVar

import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._convolve import convolve
from funcnet.layers._linear import INITIALIZERS, Initializer, draw_weight
from funcnet.layers._windows import (
    Padding,
    Sizes,
    check_fit,
    check_padding,
    explicit_padding,
    extents,
    pad,
    sizes,
)


class _Convolution(Module):
    """The fields, checks and parameters that all convolutions share."""

    num_spatial_dims: ClassVar[int]
    in_channels: int
    out_channels: int
    kernel_size: Sizes
    _: KW_ONLY
    stride: Sizes = 1
    padding: Padding = "SAME"
    dilation: Sizes = 1
    groups: int = 1
    use_bias: bool = True
    weight_init: Initializer = "lecun_normal"
    weight: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            _check.positive(name, getattr(self, name))
        for name in ("kernel_size", "stride", "dilation"):
            sizes(name, getattr(self, name), self.num_spatial_dims)
        check_padding(self.padding, self.num_spatial_dims)
        _check.divides("groups", self.groups, "in_channels", self.in_channels)
        _check.divides("groups", self.groups, "out_channels", self.out_channels)
        _check.boolean("use_bias", self.use_bias)
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        kernel = sizes("kernel_size", self.kernel_size, self.num_spatial_dims)
        shape = (*kernel, self.in_channels // self.groups, self.out_channels)
        parameters = {"weight": draw_weight(self.weight_init, key, shape)}
        return parameters | {"bias": jnp.zeros(self.out_channels)} if self.use_bias else parameters

    def _settings(self) -> list[tuple[int, ...]]:
        """Kernel size, stride and dilation, one entry for each spatial axis."""
        settings = {"kernel_size": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        return [sizes(name, value, self.num_spatial_dims) for name, value in settings.items()]

    def _check_input(self, x: Array) -> Array:
        layer = f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {self.kernel_size})"
        axes = ("length", "height, width", "depth, height, width")[self.num_spatial_dims - 1] + ", channels"
        x = _check.rank(layer, x, self.num_spatial_dims + 1, axes)
        return _check.last_axis(layer, x, self.in_channels)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = self._check_input(x)
        kernel, stride, dilation = self._settings()
        spatial, extent = x.shape[-self.num_spatial_dims - 1 : -1], extents(kernel, dilation)
        pads = explicit_padding(self.padding, spatial, extent, stride)
        padded_sizes = [n + low + high for n, (low, high) in zip(spatial, pads, strict=True)]
        check_fit(type(self).__name__, padded_sizes, extent)
        return self._add_bias(convolve(x, self.weight, stride, pads, dilation, self.groups))  # type: ignore[arg-type]

    def _add_bias(self, y: Array) -> Array:
        return y if self.bias is None else y + jnp.broadcast_to(self.bias, y.shape)


class Conv1d(_Convolution):
    """A convolution over sequences: y[t] = Σ_k x[t·stride + k·dilation - before] @ weight[k] + bias.

    As in other deep learning libraries it is a cross-correlation: the kernel is not flipped.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: length of the kernel.
        stride: step between neighbouring windows.
        padding: "SAME" (the output length is ceil(length / stride)), "VALID" (none), a number for both
            ends, or ((before, after),): `((2, 0),)` makes a kernel of size 3 causal.
        dilation: step between the elements of the kernel.
        groups: number of groups that the channels are split into; each is convolved separately.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [kernel_size, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., length, in_channels]: [..., new_length, out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, or
            the last axis of x is not `in_channels`, or x is shorter than the kernel.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> difference = fn.layers.Conv1d(
        ...     1, 1, 2, padding="VALID", use_bias=False, weight=jnp.array([-1.0, 1.0]).reshape(2, 1, 1)
        ... )
        >>> difference(jnp.array([1.0, 4.0, 9.0, 16.0])[:, None])[:, 0].tolist()
        [3.0, 5.0, 7.0]

    Source: Waibel, Hanazawa, Hinton, Shikano, Lang, "Phoneme recognition using time-delay neural
    networks", 1989.
    """

    num_spatial_dims: ClassVar[int] = 1


class Conv2d(_Convolution):
    """A convolution over images: y[i, j] = Σ_ab x[i·stride + a·dilation - before, …] @ weight[a, b] + bias.

    As in other deep learning libraries it is a cross-correlation: the kernel is not flipped.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: height and width of the kernel, or one number for both.
        stride: step between neighbouring windows, one number or one for each axis.
        padding: "SAME" (the output size is ceil(size / stride)), "VALID" (none), a number for all ends,
            or for each axis a number or a pair (before, after).
        dilation: step between the elements of the kernel, one number or one for each axis.
        groups: number of groups that the channels are split into; each is convolved separately.
            `groups=in_channels` is a depthwise convolution.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [height, width, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., height, width, in_channels]: [..., new_height, new_width,
        out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, or
            the last axis of x is not `in_channels`, or x is smaller than the kernel.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> conv = fn.layers.Conv2d(1, 32, 3, stride=2).init(jax.random.key(0))
        >>> conv(jnp.ones((28, 28, 1))).shape, conv(jnp.ones((7, 28, 28, 1))).shape, fn.count(conv)
        ((14, 14, 32), (7, 14, 14, 32), 320)

    Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel, "Backpropagation applied to
    handwritten zip code recognition", 1989.
    """

    num_spatial_dims: ClassVar[int] = 2


class Conv3d(_Convolution):
    """A convolution over volumes, such as videos: `Conv2d` with a third spatial axis.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: depth, height and width of the kernel, or one number for all.
        stride, padding, dilation, groups, use_bias, weight_init: as for `Conv2d`, with three spatial axes.
        weight: [depth, height, width, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., depth, height, width, in_channels]: [..., new_depth, new_height,
        new_width, out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, or the last axis of
            x is not `in_channels`, or x is smaller than the kernel.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> conv = fn.layers.Conv3d(1, 4, 3, stride=(1, 2, 2)).init(jax.random.key(0))
        >>> conv(jnp.ones((8, 16, 16, 1))).shape, fn.count(conv)
        ((8, 8, 8, 4), 112)

    Source: Ji, Xu, Yang, Yu, "3D convolutional neural networks for human action recognition", 2010.
    """

    num_spatial_dims: ClassVar[int] = 3


class _Transpose(_Convolution):
    """What all transposed convolutions share."""

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = self._check_input(x)
        kernel, stride, dilation = self._settings()
        before = x.shape[-self.num_spatial_dims - 1 : -1]
        after = [(n - 1) * s + 1 for n, s in zip(before, stride, strict=True)]
        if max(after) >= 2**31:  # XLA would abort the process
            raise ValueError(f"stride must leave axes shorter than 2**31, got {self.stride}: {after}.")
        size = x.size // max(math.prod(before), 1) * math.prod(after)
        _check.fits_in_memory(f"inputs that are spread by stride={self.stride}", size * x.dtype.itemsize)
        dilated = pad(x, [(0, 0)] * self.num_spatial_dims, between=[s - 1 for s in stride])
        extent = extents(kernel, dilation)
        pads = [
            (e - 1 - before, e - 1 - after)
            for e, (before, after) in zip(extent, self._cropping(extent, stride), strict=True)
        ]
        spatial = dilated.shape[-self.num_spatial_dims - 1 : -1]
        padded_sizes = [n + low + high for n, (low, high) in zip(spatial, pads, strict=True)]
        check_fit(type(self).__name__, padded_sizes, extent)
        flipped = jnp.flip(self.weight, range(self.num_spatial_dims))  # type: ignore[arg-type]
        ones = (1,) * self.num_spatial_dims
        return self._add_bias(convolve(dilated, flipped, ones, pads, dilation, self.groups))

    def _cropping(self, extent: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
        """What is cropped from both ends of each axis of the output; a negative number appends zeros."""
        if self.padding != "SAME":
            return explicit_padding(self.padding, extent, extent, stride)
        totals = [e - s for e, s in zip(extent, stride, strict=True)]
        return [(max(total, 0) // 2, total - max(total, 0) // 2) for total in totals]


class ConvTranspose1d(_Transpose):
    """The transpose of `Conv1d`: each step of x is added, times the kernel, to a window of the output.

    Sizes and padding are those of `ConvTranspose2d`: for an input of size n the output has n·stride entries
    with padding "SAME", and (n - 1)·stride + (kernel_size - 1)·dilation + 1 - before - after otherwise.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: size of the kernel.
        stride, padding, dilation, groups, use_bias, weight_init: as for `ConvTranspose2d`.
        weight: [kernel_size, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., length, in_channels]: [..., new_length, out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, the last axis of x
            is not `in_channels`, or the output would be empty.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> grow = fn.layers.ConvTranspose1d(8, 3, 4, stride=2).init(jax.random.key(0))
        >>> grow(jnp.ones((5, 8))).shape
        (10, 3)

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010.
    """

    num_spatial_dims: ClassVar[int] = 1


class ConvTranspose2d(_Transpose):
    """The transpose of `Conv2d`: each pixel of x is added, times the kernel, to a window of the output.

    y[i·stride + a·dilation - before, …] += x[i, j] @ weight[a, b]. It is the transpose (the vjp) of a
    `Conv2d` with the same settings that maps the output's size to the input's, with the last two axes
    of its weight swapped (within each group). The output size, for an input of size n and a kernel
    that covers e = (kernel_size - 1)·dilation + 1:

        padding (before, after), a number or "VALID" = 0:  (n - 1)·stride + e - before - after
        padding "SAME":                                    n·stride

    The first is that of PyTorch, whose `padding=p, output_padding=q` is `((p, p - q), (p, p - q))` here
    for q <= p; the second is that of `jax.lax.conv_transpose` and Keras.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: height and width of the kernel, or one number for both.
        stride: step between neighbouring windows of the output, one number or one for each axis.
        padding: what is cropped from the output: "SAME", "VALID" (nothing), a number for all ends, or
            for each axis a number or a pair (before, after).
        dilation: step between the elements of the kernel, one number or one for each axis.
        groups: number of groups that the channels are split into; each is treated separately.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [height, width, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., height, width, in_channels]: [..., new_height, new_width,
        out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, the last axis of x
            is not `in_channels`, or the output would be empty.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> grow = fn.layers.ConvTranspose2d(8, 3, 4, stride=2).init(jax.random.key(0))
        >>> grow(jnp.ones((7, 7, 8))).shape
        (14, 14, 3)

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010; Dumoulin, Visin, "A
    guide to convolution arithmetic for deep learning", 2016.
    """

    num_spatial_dims: ClassVar[int] = 2


class ConvTranspose3d(_Transpose):
    """The transpose of `Conv3d`: it enlarges volumes.

    Sizes and padding are those of `ConvTranspose2d`: for an input of size n the output has n·stride entries
    with padding "SAME", and (n - 1)·stride + (kernel_size - 1)·dilation + 1 - before - after otherwise.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: size of the kernel, one number or one for each axis.
        stride, padding, dilation, groups, use_bias, weight_init: as for `ConvTranspose2d`.
        weight: [depth, height, width, in_channels / groups, out_channels], drawn by `init` if None.
        bias: [out_channels], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., depth, height, width, in_channels]: [..., new_depth, new_height,
        new_width, out_channels].

    Raises:
        TypeError: if a setting is not an integer.
        ValueError: if a setting is out of range, `groups` does not divide the channels, the last axis of x
            is not `in_channels`, or the output would be empty.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> grow = fn.layers.ConvTranspose3d(8, 3, 2, stride=2).init(jax.random.key(0))
        >>> grow(jnp.ones((2, 4, 4, 8))).shape
        (4, 8, 8, 3)

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010.
    """

    num_spatial_dims: ClassVar[int] = 3

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import ClassVar

import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._convolve import convolve
from funcnet.layers._linear import INITIALIZERS, Initializer, _initializer
from funcnet.layers._windows import Padding, Sizes, check_fit, check_padding, ends, extents, padded, sizes


class _Convolution(Module):
    """What all convolutions share: their fields, the checks of them, and their parameters."""

    axes: ClassVar[int]
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
            sizes(name, getattr(self, name), self.axes)
        check_padding(self.padding, self.axes)
        _check.divides("groups", self.groups, "in_channels", self.in_channels)
        _check.divides("groups", self.groups, "out_channels", self.out_channels)
        if isinstance(self.weight_init, str):
            _check.choice("weight_init", self.weight_init, INITIALIZERS)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        kernel = sizes("kernel_size", self.kernel_size, self.axes)
        shape = (*kernel, self.in_channels // self.groups, self.out_channels)
        drawn = {"weight": _initializer(self.weight_init)(key, shape, jnp.zeros(()).dtype)}
        return drawn | {"bias": jnp.zeros(self.out_channels)} if self.use_bias else drawn

    def _settings(self) -> list[tuple[int, ...]]:
        """Kernel, stride and dilation by axis."""
        named = {"kernel_size": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        return [sizes(name, value, self.axes) for name, value in named.items()]

    def _check_input(self, x: Array) -> None:
        shown = f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {self.kernel_size})"
        _check.rank(shown, x, self.axes + 1, ("length", "height, width")[self.axes - 1] + ", channels")
        _check.last_axis(shown, x, self.in_channels)

    def _forward(self, x: Array) -> Array:
        self._check_input(x)
        kernel, stride, dilation = self._settings()
        spatial, covered = x.shape[-self.axes - 1 : -1], extents(kernel, dilation)
        added = ends(self.padding, spatial, covered, stride)
        slid = [n + low + high for n, (low, high) in zip(spatial, added, strict=True)]
        check_fit(type(self).__name__, slid, covered)
        return self._biased(convolve(x, self.weight, stride, added, dilation, self.groups))  # type: ignore[arg-type]

    def _biased(self, y: Array) -> Array:
        return y if self.bias is None else y + jnp.broadcast_to(self.bias, y.shape)


class Conv1d(_Convolution):
    """A convolution over sequences: y[t] = Σ_k x[t·stride + k·dilation - before] @ weight[k] + bias.

    As everywhere in this field it is a correlation: the kernel is not flipped.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: places that the kernel covers.
        stride: steps between windows.
        padding: "SAME" (with stride 1 the length stays; with stride s it becomes ceil(length / s)),
            "VALID" (none), a number for both ends, or ((before, after),): `((2, 0),)` makes a kernel
            of 3 causal.
        dilation: steps between the kernel's places.
        groups: into how many parts the channels are cut, each convolved by itself.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [kernel_size, in_channels / groups, out_channels], drawn by `init` when left out.
        bias: [out_channels], zero after `init` when left out.

    Returns:
        When called on x of shape [..., length, in_channels]: [..., new length, out_channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range, `groups` doesn't divide the channels, or x has
            another last axis or is shorter than the kernel.

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

    axes: ClassVar[int] = 1

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._forward(x)


class Conv2d(_Convolution):
    """A convolution over images: y[i, j] = Σ_ab x[i·stride + a·dilation - before, …] @ weight[a, b] + bias.

    As everywhere in this field it is a correlation: the kernel is not flipped.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: height and width of the kernel, or one number for both.
        stride: steps between windows, one number or one for each axis.
        padding: "SAME" (with stride 1 the size stays; with stride s it becomes ceil(size / s)),
            "VALID" (none), a number for all ends, or for each axis a number or a pair (before, after).
        dilation: steps between the kernel's places, one number or one for each axis.
        groups: into how many parts the channels are cut, each convolved by itself; `in_channels`
            makes it depthwise.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [height, width, in_channels / groups, out_channels], drawn by `init` when left out.
        bias: [out_channels], zero after `init` when left out.

    Returns:
        When called on x of shape [..., height, width, in_channels]: [..., new height, new width,
        out_channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range, `groups` doesn't divide the channels, or x has
            another last axis or is smaller than the kernel.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> conv = fn.layers.Conv2d(1, 32, 3, stride=2).init(jax.random.key(0))
        >>> conv(jnp.ones((28, 28, 1))).shape, conv(jnp.ones((7, 28, 28, 1))).shape, fn.count(conv)
        ((14, 14, 32), (7, 14, 14, 32), 320)

    Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel, "Backpropagation applied to
    handwritten zip code recognition", 1989.
    """

    axes: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        return self._forward(x)


class ConvTranspose2d(_Convolution):
    """The transpose of `Conv2d`: every pixel of x spreads over a window of the output.

    y[i·stride + a·dilation - before, …] += x[i, j] @ weight[a, b]. With the same settings it is the
    transpose (the vjp) of a `Conv2d` from the output's size to the input's, whose weight has its last
    two axes swapped (in each group, if there are several). With n the size of x and
    e = (kernel - 1)·dilation + 1:

        padding (before, after), a number or "VALID" = 0:  (n - 1)·stride + e - before - after
        padding "SAME":                                    n·stride

    The first is PyTorch's, whose `padding=p, output_padding=q` is `((p, p - q), (p, p - q))` here,
    for q up to p; the second is that of `jax.lax.conv_transpose` and Keras.

    Args:
        in_channels, out_channels: size of the last axis of the input and of the output.
        kernel_size: height and width of the kernel, or one number for both.
        stride: steps between the windows in the output, one number or one for each axis.
        padding: what is cut off the output: "SAME", "VALID" (nothing), a number for all ends, or for
            each axis a number or a pair (before, after).
        dilation: steps between the kernel's places, one number or one for each axis.
        groups: into how many parts the channels are cut, each treated by itself.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight, as for `Linear`; the bias starts at zero.
        weight: [height, width, in_channels / groups, out_channels], drawn by `init` when left out.
        bias: [out_channels], zero after `init` when left out.

    Returns:
        When called on x of shape [..., height, width, in_channels]: [..., new height, new width,
        out_channels].

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if a setting is out of range, `groups` doesn't divide the channels, x has
            another last axis, or nothing of the output is left.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> grow = fn.layers.ConvTranspose2d(8, 3, 4, stride=2).init(jax.random.key(0))
        >>> grow(jnp.ones((7, 7, 8))).shape
        (14, 14, 3)

    Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010; Dumoulin, Visin, "A
    guide to convolution arithmetic for deep learning", 2016.
    """

    axes: ClassVar[int] = 2

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        self._check_input(x)
        kernel, stride, dilation = self._settings()
        spread = padded(x, [(0, 0)] * self.axes, between=[s - 1 for s in stride])
        covered = extents(kernel, dilation)
        added = [
            (extent - 1 - before, extent - 1 - after)
            for extent, (before, after) in zip(covered, self._cut(covered, stride), strict=True)
        ]
        slid = [
            n + low + high for n, (low, high) in zip(spread.shape[-self.axes - 1 : -1], added, strict=True)
        ]
        check_fit(type(self).__name__, slid, covered)
        flipped = jnp.flip(self.weight, range(self.axes))  # type: ignore[arg-type]
        ones = (1,) * self.axes
        return self._biased(convolve(spread, flipped, ones, added, dilation, self.groups))

    def _cut(self, covered: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
        """What is taken off the output at both ends of each axis; less than nothing is zeros added."""
        if self.padding != "SAME":
            return ends(self.padding, covered, covered, stride)
        totals = [extent - s for extent, s in zip(covered, stride, strict=True)]
        return [(max(total, 0) // 2, total - max(total, 0) // 2) for total in totals]

from typing import Literal

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._dtype import as_floating, wide
from funcnet.layers._windows import Sizes, sizes


class Upsample(Module):
    """Enlarge images: repeat each pixel, or interpolate between pixels.

    Args:
        scale: how many times as large each spatial axis becomes, one number or one for each axis.
        method: "nearest" repeats each pixel; "bilinear" interpolates linearly along each axis between
            the pixels' centres, and continues the outermost pixels to the edge, as PyTorch with
            `align_corners=False` and Keras.
        num_spatial_dims: number of spatial axes before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., height, width, channels]: [..., height·scale, width·scale,
        channels].

    Raises:
        TypeError: if `scale` is not an integer.
        ValueError: if `scale` or `num_spatial_dims` is below 1, the method is unknown, x has too few axes,
            or the result would need more memory than there is.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.Upsample(2)(jnp.ones((5, 6, 3))).shape
        (10, 12, 3)
        >>> x = jnp.array([0.0, 4.0])[:, None]
        >>> fn.layers.Upsample(2, "bilinear", num_spatial_dims=1)(x)[:, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """

    scale: Sizes = 2
    method: Literal["nearest", "bilinear"] = "nearest"
    num_spatial_dims: int = 2

    def __post_init__(self) -> None:
        _check.positive("num_spatial_dims", self.num_spatial_dims)
        sizes("scale", self.scale, self.num_spatial_dims)
        _check.choice("method", self.method, ("nearest", "bilinear"))

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.spatial("Upsample", x, self.num_spatial_dims)
        scale = sizes("scale", self.scale, self.num_spatial_dims)
        first = x.ndim - self.num_spatial_dims - 1
        shape = list(x.shape)
        size = x.size * wide(x).dtype.itemsize
        for axis, factor in enumerate(scale, first):
            shape[axis], size = shape[axis] * factor, size * factor
        if max(shape[first:]) > _check.INT32_MAX:
            raise ValueError(f"scale must leave axes shorter than 2**31, got {self.scale}: {shape}.")
        _check.fits_in_memory(f"images enlarged by scale={self.scale}", size)
        if self.method == "bilinear":
            return as_floating(jax.image.resize(wide(x), shape, "bilinear"), x.dtype)
        for axis, factor in enumerate(scale, first):
            x = jnp.repeat(x, factor, axis)
        return x

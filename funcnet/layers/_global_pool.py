import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._windows import spatial_axes


class GlobalAvgPool(Module):
    """The mean of each channel over all spatial axes.

    Args:
        num_spatial_dims: number of spatial axes before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., *spatial, channels]: [..., channels].

    Raises:
        ValueError: if `num_spatial_dims` is below 1, or x has too few axes or an empty spatial axis.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.GlobalAvgPool()(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
        [3.0, 4.0]

    Source: Lin, Chen, Yan, "Network in network", 2013.
    """

    num_spatial_dims: int = 2

    def __post_init__(self) -> None:
        _check.positive("num_spatial_dims", self.num_spatial_dims)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        spatial = self.num_spatial_dims
        x = _check.spatial("GlobalAvgPool", x, spatial)
        return jnp.mean(x, axis=spatial_axes(spatial))


class GlobalMaxPool(Module):
    """The largest entry of each channel over all spatial axes.

    Args:
        num_spatial_dims: number of spatial axes before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., *spatial, channels]: [..., channels].

    Raises:
        ValueError: if `num_spatial_dims` is below 1, or x has too few axes or an empty spatial axis.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.GlobalMaxPool()(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
        [6.0, 7.0]

    Source: Oquab, Bottou, Laptev, Sivic, "Is object localization for free?", 2015.
    """

    num_spatial_dims: int = 2

    def __post_init__(self) -> None:
        _check.positive("num_spatial_dims", self.num_spatial_dims)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        spatial = self.num_spatial_dims
        x = _check.spatial("GlobalMaxPool", x, spatial)
        return jnp.max(x, axis=spatial_axes(spatial))

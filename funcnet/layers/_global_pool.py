import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._windows import spatial_axes


class GlobalAvgPool(Module):
    """The mean of each channel over all spatial axes.

    Args:
        axes: how many spatial axes there are before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., *spatial, channels]: [..., channels].

    Raises:
        ValueError: if `axes` is below 1 or x has fewer axes.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.GlobalAvgPool()(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
        [3.0, 4.0]

    Source: Lin, Chen, Yan, "Network in network", 2013.
    """

    axes: int = 2

    def __post_init__(self) -> None:
        _check.positive("axes", self.axes)

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        _check.rank("GlobalAvgPool", x, self.axes + 1, f"{self.axes} spatial axes, channels")
        return jnp.mean(x, axis=spatial_axes(self.axes))


class GlobalMaxPool(Module):
    """The largest entry of each channel over all spatial axes.

    Args:
        axes: how many spatial axes there are before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., *spatial, channels]: [..., channels].

    Raises:
        ValueError: if `axes` is below 1 or x has fewer axes.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.layers.GlobalMaxPool()(jnp.arange(8.0).reshape(2, 2, 2)).tolist()
        [6.0, 7.0]

    Source: Oquab, Bottou, Laptev, Sivic, "Is object localization for free?", 2015.
    """

    axes: int = 2

    def __post_init__(self) -> None:
        _check.positive("axes", self.axes)

    def __call__(self, x: Float[Array, "..."], key: Key | None = None) -> Float[Array, "..."]:
        del key
        _check.rank("GlobalMaxPool", x, self.axes + 1, f"{self.axes} spatial axes, channels")
        return jnp.max(x, axis=spatial_axes(self.axes))

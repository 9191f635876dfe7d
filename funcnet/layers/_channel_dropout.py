from typing import ClassVar

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers._dropout import as_setting, drop


class ChannelDropout(Module):
    """Spatial dropout: in training each channel is zeroed as a whole with probability `rate`.

    Neighbouring pixels are strongly correlated, so dropping single pixels removes little information.

    Args:
        rate: probability that a channel of an example is zeroed, in [0, 1); the others are divided by
            1 - rate. An array may be traced, as for `Dropout`.
        num_spatial_dims: number of spatial axes before the channels: 2 for images, 1 for sequences.

    Returns:
        When called on x of shape [..., *spatial, channels]: the same shape. Without a key, x itself.

    Raises:
        ValueError: if `rate` is outside [0, 1), `num_spatial_dims` is below 1, or x has too few axes.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> drop = fn.layers.ChannelDropout(0.5)
        >>> y = drop(jnp.ones((4, 4, 6)), key=jax.random.key(0))
        >>> bool((y == y[:1, :1]).all()), sorted(set(y.ravel().tolist()))
        (True, [0.0, 2.0])

    Source: Tompson, Goroshin, Jain, LeCun, Bregler, "Efficient object localization using
    convolutional networks", 2015.
    """

    needs_key: ClassVar[bool] = True
    rate: float | Array | Buffer = 0.5
    num_spatial_dims: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", as_setting("rate", self.rate))
        _check.positive("num_spatial_dims", self.num_spatial_dims)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        spatial = self.num_spatial_dims
        x = _check.rank("ChannelDropout", x, spatial + 1, f"{spatial} spatial axes, channels")
        shape = (*x.shape[: x.ndim - spatial - 1], *(1,) * spatial, x.shape[-1])
        return drop(x, self.rate, key, shape)

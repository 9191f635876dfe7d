from typing import ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._dropout import scale_kept


class ChannelDropout(Module):
    """Spatial dropout: in training each channel is zeroed as a whole with probability `rate`.

    Neighbouring pixels are strongly correlated, so dropping single pixels removes little information.

    Args:
        rate: probability that a channel of an example is zeroed, in [0, 1); the others are divided by
            1 - rate.
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
    rate: float = 0.5
    num_spatial_dims: int = 2

    def __post_init__(self) -> None:
        _check.between("rate", self.rate, 0.0, 1.0)
        _check.positive("num_spatial_dims", self.num_spatial_dims)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        spatial = self.num_spatial_dims
        x = _check.rank("ChannelDropout", x, spatial + 1, f"{spatial} spatial axes, channels")
        if key is None or self.rate == 0.0:
            return x
        _check.key(key)
        shape = (*x.shape[: x.ndim - spatial - 1], *(1,) * spatial, x.shape[-1])
        keep = jax.random.bernoulli(key, 1.0 - self.rate, shape)
        return scale_kept(x, jnp.broadcast_to(keep, x.shape), self.rate)

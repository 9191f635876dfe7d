from collections.abc import Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key


class LayerNorm(Module):
    """Each example's features brought to mean 0 and variance 1: (x - mean) / √(variance + eps).

    Then times `scale`, plus `shift`. Statistics are those of the last axis, in float32 or wider.

    Args:
        features: size of the last axis.
        eps: what is added to the variance.
        use_scale: whether each feature has a factor.
        use_shift: whether each feature has a summand.
        scale: [features], one after `init` when left out.
        shift: [features], zero after `init` when left out.

    Returns:
        When called on x of shape [..., features]: the same shape and dtype.

    Raises:
        ValueError: if `features` is below 1, or the last axis of x is another.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> from funcnet.layers._norm import LayerNorm
        >>> layer = LayerNorm(2).init(jax.random.key(0))
        >>> layer(jnp.array([1.0, 3.0])).round(3).tolist()
        [-1.0, 1.0]

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
    """

    features: int
    eps: float = 1e-5
    use_scale: bool = True
    use_shift: bool = True
    _: KW_ONLY
    scale: Float[Array, " features"] | None = None
    shift: Float[Array, " features"] | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        del key
        scale = {"scale": jnp.ones(self.features)} if self.use_scale else {}
        return scale | ({"shift": jnp.zeros(self.features)} if self.use_shift else {})

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        _check.last_axis(f"LayerNorm({self.features})", x, self.features)
        wide = x.astype(np.promote_types(x.dtype, jnp.float32))
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        y = (centred * jax.lax.rsqrt(variance + self.eps)).astype(x.dtype)
        if self.scale is not None:
            y *= jnp.broadcast_to(self.scale, y.shape)
        return y if self.shift is None else y + jnp.broadcast_to(self.shift, y.shape)

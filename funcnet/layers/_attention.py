from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Bool, Key
from funcnet.layers._linear import Linear


class MultiHeadAttention(Module):
    """Self-attention: every position asks, and takes a mean of what all positions hold.

    With q, k, v = x @ W_q, x @ W_k, x @ W_v, cut into heads of size d = features / heads,
    each head gives softmax(q @ kᵀ / √d) @ v; the heads side by side pass through `out`.

    Args:
        features: size of the last axis of input and output.
        heads: how many heads; divides `features`.
        causal: whether a position takes from itself and earlier ones only.
        project: Linear(features, 3 * features, use_bias=False), whose output is [q | k | v], each head
            after head. No bias: the keys' would change nothing (softmax is the same for scores that
            all rise alike), and the values' is a part of out.bias.
        out: Linear(features, features).

    Returns:
        When called on x of shape [..., length, features]: the same shape. `mask`, bool
        [..., length], says which positions are keys: what a position marked False holds reaches no
        other, nor a gradient, as long as it is finite. Where no key is left the heads give 0, so that
        the output is out.bias.

    Raises:
        ValueError: if a size is below 1, `heads` does not divide `features`, x is not
            [..., length, features], or the mask not of the shape [..., length].
        TypeError: if the mask is not boolean.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.MultiHeadAttention(8, heads=2, causal=True).init(jax.random.key(0))
        >>> x = jnp.ones((3, 5, 8))
        >>> layer(x).shape, layer(x, mask=jnp.ones((3, 5), bool)).shape, fn.count(layer)
        ((3, 5, 8), (3, 5, 8), 264)

    Source: Vaswani et al., "Attention is all you need", 2017.
    """

    features: int
    heads: int
    _: KW_ONLY
    causal: bool = False
    project: Linear | None = None
    out: Linear | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)
        _check.positive("heads", self.heads)
        _check.divides("heads", self.heads, "features", self.features)
        made = {
            "project": Linear(self.features, 3 * self.features, use_bias=False),
            "out": Linear(self.features, self.features),
        }
        for name, layer in made.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, layer)

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        del key
        _check.sequence(f"MultiHeadAttention({self.features}, {self.heads})", x, self.features)
        shape = (*x.shape[:-1], 3, self.heads, self.features // self.heads)
        q, k, v = jnp.moveaxis(self.project(x).reshape(shape), -3, 0)  # type: ignore[misc]
        if mask is not None:
            _check.mask("mask", mask, x.shape[:-1])
            # A weight of 0 alone would not do: 0 * inf is NaN.
            k, v = _kept(k, mask), _kept(v, mask)
        return self.out(attend(q, k, v, self._allowed(x, mask)).reshape(x.shape))  # type: ignore[misc]

    def _allowed(self, x: Array, mask: Array | None) -> Bool[Array, "..."] | None:
        """Which query may take from which key, [..., 1, length, length], None for all from all."""
        if mask is None and not self.causal:
            return None
        square = (*x.shape[:-2], 1, x.shape[-2], x.shape[-2])
        allowed = jnp.ones(square, bool)
        if self.causal:
            allowed &= jnp.broadcast_to(jnp.tri(x.shape[-2], dtype=bool), square)
        if mask is not None:
            allowed &= jnp.broadcast_to(mask[..., None, None, :], square)
        return allowed


def attend(q: Array, k: Array, v: Array, allowed: Array | None) -> Array:
    """softmax(q @ kᵀ / √d) @ v for arrays [..., length, heads, d].

    Not `jax.nn.dot_product_attention`: its softmax is float32 in a float64 model too, and a query
    without a key gets the mean of masked values there (NaN in float64). On CPU the operations are these.
    """
    wide = np.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("...tnd,...snd->...nts", q, k, preferred_element_type=wide) / q.shape[-1] ** 0.5
    if allowed is None:
        weights = jax.nn.softmax(logits, axis=-1)
    else:
        allowed = jnp.broadcast_to(allowed, logits.shape)
        weights = jax.nn.softmax(jnp.where(allowed, logits, jnp.finfo(wide).min), axis=-1)
        weights = jnp.where(allowed, weights, 0)
    return jnp.einsum("...nts,...snd->...tnd", weights.astype(v.dtype), v)


def _kept(rows: Array, mask: Array) -> Array:
    return jnp.where(jnp.broadcast_to(mask[..., None, None], rows.shape), rows, 0)

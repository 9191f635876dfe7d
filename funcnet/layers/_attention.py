from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Bool, Key
from funcnet.layers._linear import Linear


class MultiHeadAttention(Module):
    """Multi-head self-attention: each position takes a weighted mean of the values of all positions.

    q, k, v = x @ W_q, x @ W_k, x @ W_v are split into heads of size d = features / num_heads. Each head
    computes softmax(q @ kᵀ / √d) @ v; the concatenated heads pass through `out`.

    Args:
        features: size of the last axis of input and output.
        num_heads: number of attention heads; must divide `features`.
        causal: whether a position attends only to itself and to earlier positions.
        qkv_bias: whether `project` has a bias, as in PyTorch. A bias of the keys shifts all logits of a
            query alike, which softmax ignores, and out.bias absorbs one of the values, so that only that
            of the queries has an effect.
        project: Linear(features, 3 * features, use_bias=qkv_bias), whose output is [q | k | v], each of
            them head by head. Built if None.
        out: Linear(features, features). Built if None.

    Returns:
        When called on x of shape [..., length, features]: the same shape. `mask`, bool
        [..., length], is True at the positions that may be attended to: a position marked False affects
        neither the other positions nor any gradient, as long as its values are finite. If all keys of a
        query are masked, its heads return 0 and its output is out.bias.

    Raises:
        ValueError: if a size is below 1, `num_heads` does not divide `features`, x does not have shape
            [..., length, features], or the mask does not have shape [..., length].
        TypeError: if the mask is not boolean.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.MultiHeadAttention(8, num_heads=2, causal=True).init(jax.random.key(0))
        >>> x = jnp.ones((3, 5, 8))
        >>> layer(x).shape, layer(x, mask=jnp.ones((3, 5), bool)).shape, fn.count(layer)
        ((3, 5, 8), (3, 5, 8), 264)

    Source: Vaswani et al., "Attention is all you need", 2017.
    """

    features: int
    num_heads: int
    _: KW_ONLY
    causal: bool = False
    qkv_bias: bool = False
    project: Linear | None = None
    out: Linear | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)
        _check.positive("num_heads", self.num_heads)
        _check.boolean("causal", self.causal)
        _check.boolean("qkv_bias", self.qkv_bias)
        _check.divides("num_heads", self.num_heads, "features", self.features)
        defaults = {
            "project": Linear(self.features, 3 * self.features, use_bias=self.qkv_bias),
            "out": Linear(self.features, self.features),
        }
        for name, layer in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, layer)

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        del key
        x = _check.sequence(f"MultiHeadAttention({self.features}, {self.num_heads})", x, self.features)
        shape = (*x.shape[:-1], 3, self.num_heads, self.features // self.num_heads)
        q, k, v = jnp.moveaxis(self.project(x).reshape(shape), -3, 0)  # type: ignore[misc]
        if mask is not None:
            mask = _check.mask("mask", mask, x.shape[:-1])
            # Attention weights of 0 do not suffice: 0 * inf is NaN.
            k, v = _zero_masked(k, mask), _zero_masked(v, mask)
        return self.out(attend(q, k, v, self._attention_mask(x, mask)).reshape(x.shape))  # type: ignore[misc]

    def _attention_mask(self, x: Array, mask: Array | None) -> Bool[Array, "..."] | None:
        """Which query may attend to which key, [..., 1, length, length]; None if all may attend to all."""
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

    `jax.nn.dot_product_attention` is not used: it computes the softmax in float32 even for a float64
    model, and a query whose keys are all masked gets the mean of the masked values (NaN in float64). On
    CPUs it performs the same operations.
    """
    dtype = np.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("...tnd,...snd->...nts", q, k, preferred_element_type=dtype) / q.shape[-1] ** 0.5
    if allowed is None:
        weights = jax.nn.softmax(logits, axis=-1)
    else:
        allowed = jnp.broadcast_to(allowed, logits.shape)
        weights = jax.nn.softmax(jnp.where(allowed, logits, jnp.finfo(dtype).min), axis=-1)
        weights = jnp.where(allowed, weights, 0)
    return jnp.einsum("...nts,...snd->...tnd", weights.astype(v.dtype), v)


def _zero_masked(heads: Array, mask: Array) -> Array:
    """`heads`, [..., length, heads, d], with zeros at the masked positions."""
    return jnp.where(jnp.broadcast_to(mask[..., None, None], heads.shape), heads, 0)

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers import Embedding, Linear
from funcnet.layers._linear import Size
from funcnet.layers._norm import LayerNorm
from funcnet.models._block import Block

Positions: TypeAlias = Literal["sinusoidal", "learned", "none"]


class Transformer(Module):
    """A small Transformer encoder that sorts sequences into classes.

    Tokens are embedded (vectors go through a linear layer), positions are added, `depth` blocks with
    layer norms in front of attention and MLP follow, and the mean over all positions that count gives
    the logits.

    Args:
        out_features: number of classes, or "scalar" for one logit of shape ().
        tokens: for sequences of whole numbers in 0 .. tokens-1: how many there are.
        in_features: for sequences of vectors: their size. One of the two is given.
        length: the longest sequence; needed for learned positions only.
        features: width of the model.
        heads: heads of each attention; divides `features`.
        depth: number of blocks.
        hidden: width of the blocks' MLPs; 4 * features when left out.
        positions: "sinusoidal" (any length), "learned" (a parameter [length, features]) or "none": a
            model of sets, to which order is nothing.
        dropout: probability that an entry of a block's two branches is dropped in training, in [0, 1).
        padding: the token that fills up short sequences, and does not count.
        embed: the Embedding or Linear layer at the entry.
        place: the learned positions, [length, features], drawn from N(0, 0.02²).
        blocks, norm, head: the blocks, the last layer norm, the linear layer of the logits.

    Returns:
        When called on tokens [..., length] or vectors [..., length, in_features]: logits
        [..., out_features], or [...] for "scalar". `mask`, bool [..., length], says which positions
        count; what the others hold never matters, and a sequence in which none counts has the logits
        head.bias. When left out, those that aren't `padding` do.

    Raises:
        ValueError: if not one of `tokens` and `in_features` is given, a size is below 1, `heads` does
            not divide `features`, `padding` is no token, or a sequence is longer than learned positions.
        TypeError: for tokens that aren't whole numbers, or a mask that is not boolean.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.models.Transformer(3, tokens=9, features=8, heads=2, depth=1, padding=0)
        >>> model = net.init(jax.random.key(0))
        >>> short, padded = jnp.array([5, 2, 7]), jnp.array([5, 2, 7, 0, 0])
        >>> call = jax.jit(model)
        >>> call(short).shape, bool(jnp.allclose(call(short), call(padded), atol=1e-6))
        ((3,), True)

    Source: Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in
    the Transformer architecture", 2020 (norms in front).
    """

    out_features: Size
    _: KW_ONLY
    tokens: int | None = None
    in_features: int | None = None
    length: int | None = None
    features: int = 32
    heads: int = 4
    depth: int = 2
    hidden: int | None = None
    positions: Positions = "sinusoidal"
    dropout: float = 0.0
    padding: int | None = None
    embed: Embedding | Linear | None = None
    place: Float[Array, "length features"] | None = None
    blocks: tuple[Block, ...] | None = None
    norm: LayerNorm | None = None
    head: Linear | None = None

    def __post_init__(self) -> None:
        self._check()
        hidden = 4 * self.features if self.hidden is None else self.hidden
        if self.tokens is not None:
            embed: Module = Embedding(self.tokens, self.features)
        else:
            embed = Linear(self.in_features, self.features)  # type: ignore[arg-type]
        made = {
            "embed": embed,
            "blocks": (Block(self.features, self.heads, hidden, self.dropout),) * self.depth,
            "norm": LayerNorm(self.features),
            "head": Linear(self.features, self.out_features),
        }
        for name, part in made.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, part)

    def _check(self) -> None:
        _check.one_of(tokens=self.tokens, in_features=self.in_features)
        for name in ("features", "heads", "depth", "hidden"):
            if getattr(self, name) is not None:
                _check.positive(name, getattr(self, name))
        _check.between("dropout", self.dropout, 0.0, 1.0)
        _check.choice("positions", self.positions, ("sinusoidal", "learned", "none"))
        if self.positions == "learned":
            _check.positive("length", self.length)
        if self.padding is not None:
            _check.padding(self.padding, self.tokens)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        if self.positions != "learned":
            return {}
        return {"place": 0.02 * jax.random.normal(key, (self.length, self.features))}  # type: ignore[arg-type]

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        if mask is None and self.padding is not None:
            mask = jnp.asarray(x) != self.padding
        if self.tokens is None:
            _check.sequence("Transformer", x, self.in_features)  # type: ignore[arg-type]
            x = _kept(x, mask)  # before the first weights, whose gradient would be 0 * inf
        h = _kept(self._placed(x), mask)
        for i, block in enumerate(self.blocks):  # type: ignore[arg-type]
            h = block(h, key=None if key is None else jax.random.fold_in(key, i), mask=mask)
        return self.head(_mean(self.norm(h), mask))  # type: ignore[misc]

    def _placed(self, x: Array) -> Array:
        """The sequence at the entry, with its positions: [..., length, features]."""
        if self.tokens is not None:
            _check.token_sequence("Transformer", x)
        h = self.embed(x)  # type: ignore[misc]
        length = h.shape[-2]
        if self.positions == "none":
            return h
        if self.positions == "sinusoidal":
            place = sinusoids(length, self.features)
        else:
            _check.at_most("a sequence's length", length, "length", self.length)  # type: ignore[arg-type]
            place = self.place[:length]  # type: ignore[index]
        return h + jnp.broadcast_to(place.astype(h.dtype), h.shape)


def sinusoids(length: int, features: int) -> Array:
    """[length, features]: sines, then cosines, of position / 10000^(2i / features), i = 0, 1, …"""
    rates = 10000.0 ** (-jnp.arange(0, features, 2, dtype=float) / features)
    angles = jnp.outer(jnp.arange(length, dtype=float), rates)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[:, :features]


def _mean(h: Array, mask: Array | None) -> Array:
    """The mean over the positions that count; 0 where none does."""
    if mask is None:
        return jnp.mean(h, axis=-2)
    number = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
    return jnp.sum(_kept(h, mask), axis=-2) / number.astype(h.dtype)


def _kept(h: Array, mask: Array | None) -> Array:
    """Zeros where the mask doesn't hold."""
    if mask is None:
        return h
    _check.mask("mask", mask, h.shape[:-1])
    return jnp.where(jnp.broadcast_to(mask[..., None], h.shape), h, 0)

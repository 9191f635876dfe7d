from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._module import Buffer, Module
from funcnet._types import Array, Float, Key
from funcnet.layers import Embedding, Linear
from funcnet.layers._dropout import as_setting
from funcnet.layers._dtype import wide
from funcnet.layers._linear import Size
from funcnet.layers._norm import LayerNorm
from funcnet.models._block import Block

Positions: TypeAlias = Literal["sinusoidal", "learned", "none"]


class Transformer(Module):
    """A small Transformer encoder that classifies sequences.

    Tokens are embedded (vectors pass through a linear layer) and position embeddings are added. `depth`
    pre-norm blocks of attention and MLP follow. The mean over all unmasked positions gives the logits.

    Args:
        out_features: number of classes, or "scalar" for one logit of shape ().
        vocab_size: for sequences of tokens, integers in 0 .. vocab_size-1.
        in_features: for sequences of vectors: their size. Exactly one of the two must be given.
        max_length: length of the longest sequence; only needed for learned positions.
        features: width of the model.
        num_heads: number of attention heads; must divide `features`.
        depth: number of blocks.
        hidden_features: width of the blocks' MLPs; 4 * features by default.
        positions: "sinusoidal" (any length), "learned" (a parameter [max_length, features]) or "none"
            (a model of sets, which ignores the order).
        dropout: dropout rate of the output of both branches of a block, in [0, 1); an array may be
            traced, as for `Dropout`.
        activation: activation function of the blocks' MLPs; PyTorch's "gelu" is
            functools.partial(jax.nn.gelu, approximate=False).
        qkv_bias: whether queries, keys and values have a bias, as in PyTorch and in `MultiHeadAttention`.
        pad_token: the token that fills up short sequences and is masked.
        embed: the Embedding or Linear layer of the input. Built if None.
        position_embedding: the learned positions, [max_length, features], drawn from N(0, 0.02²).
        blocks, norm, head: the blocks, the last layer norm, the linear layer of the logits. Built if None.

    Returns:
        When called on tokens [..., length] or vectors [..., length, in_features]: logits
        [..., out_features], or [...] for "scalar". `mask`, bool [..., length], is False at
        positions to ignore: their values have no effect, and the logits of a fully masked sequence are
        head.bias. By default the positions that hold `pad_token` are masked.

    Raises:
        ValueError: if not exactly one of `vocab_size` and `in_features` is given, a size is below 1,
            `num_heads` does not divide `features`, `pad_token` is not a token, or a sequence is longer than
            `max_length` with learned positions.
        TypeError: if tokens are not integers, or the mask is not boolean.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.models.Transformer(3, vocab_size=9, features=8, num_heads=2, depth=1, pad_token=0)
        >>> model = net.init(jax.random.key(0))
        >>> short, padded = jnp.array([5, 2, 7]), jnp.array([5, 2, 7, 0, 0])
        >>> call = jax.jit(model)
        >>> call(short).shape, bool(jnp.allclose(call(short), call(padded), atol=1e-6))
        ((3,), True)

    Source: Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in
    the Transformer architecture", 2020 (pre-norm blocks).
    """

    out_features: Size
    _: KW_ONLY
    vocab_size: int | None = None
    in_features: int | None = None
    max_length: int | None = None
    features: int = 32
    num_heads: int = 4
    depth: int = 2
    hidden_features: int | None = None
    positions: Positions = "sinusoidal"
    dropout: float | Array | Buffer = 0.0
    activation: Callable[[Array], Array] = jax.nn.gelu
    qkv_bias: bool = False
    pad_token: int | None = None
    embed: Embedding | Linear | None = None
    position_embedding: Float[Array, "max_length features"] | None = None
    blocks: tuple[Block, ...] | None = None
    norm: LayerNorm | None = None
    head: Linear | None = None

    def __post_init__(self) -> None:
        self._check()
        hidden = 4 * self.features if self.hidden_features is None else self.hidden_features
        if self.vocab_size is not None:
            embed: Module = Embedding(self.vocab_size, self.features)
        else:
            embed = Linear(self.in_features, self.features)  # type: ignore[arg-type]
        parts = {
            "embed": embed,
            "blocks": (self._block(hidden),) * self.depth,
            "norm": LayerNorm(self.features),
            "head": Linear(self.features, self.out_features),
        }
        for name, part in parts.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, part)

    def _block(self, hidden_features: int) -> Block:
        settings = self.dropout, self.activation, self.qkv_bias
        return Block(self.features, self.num_heads, hidden_features, *settings)

    def _check(self) -> None:
        _check.size("out_features", self.out_features)
        _check.one_of(vocab_size=self.vocab_size, in_features=self.in_features)
        for name in ("features", "num_heads", "hidden_features", "max_length"):
            if getattr(self, name) is not None or name in ("features", "num_heads"):
                _check.positive(name, getattr(self, name))
        _check.depth("depth", self.depth)
        _check.divides("num_heads", self.num_heads, "features", self.features)
        object.__setattr__(self, "dropout", as_setting("dropout", self.dropout))
        _check.takes("activation", self.activation, "a function of an array, such as jax.nn.relu", None)
        _check.boolean("qkv_bias", self.qkv_bias)
        _check.choice("positions", self.positions, ("sinusoidal", "learned", "none"))
        if self.positions == "learned":
            _check.positive("max_length", self.max_length)
        if self.pad_token is not None:
            _check.pad_token(self.pad_token, self.vocab_size)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        if self.positions != "learned":
            return {}
        return {"position_embedding": 0.02 * jax.random.normal(key, (self.max_length, self.features))}  # type: ignore[arg-type]

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        if self.vocab_size is not None:
            x = _check.token_sequence("Transformer", x)
        else:
            x = _check.sequence("Transformer", x, self.in_features)  # type: ignore[arg-type]
        if mask is not None:
            mask = _check.mask("mask", mask, x.shape if self.vocab_size is not None else x.shape[:-1])
            if self.vocab_size is not None:
                x = jnp.where(mask, x, jnp.zeros_like(x))  # masked tokens may be any numbers
        elif self.pad_token is not None:
            # In a narrow dtype JAX would wrap the number of the token around.
            is_held = self.pad_token <= jnp.iinfo(x.dtype).max
            mask = x != self.pad_token if is_held else jnp.ones(x.shape, bool)
        if self.vocab_size is None:
            x = _zero_masked(x, mask)  # before the first layer, where masked inf would give 0 * inf
        h = _zero_masked(self._embed(x), mask)
        for i, block in enumerate(self.blocks):  # type: ignore[arg-type]
            h = block(h, key=_keys.fold_in(key, i), mask=mask)
        return self.head(_mean(self.norm(h), mask))  # type: ignore[misc]

    def _embed(self, x: Array) -> Array:
        """The embedded sequence with its positions, [..., length, features]."""
        h = self.embed(x)  # type: ignore[misc]
        length = h.shape[-2]
        if self.positions == "none":
            return h
        if self.positions == "sinusoidal":
            position = sinusoids(length, self.features)
        else:
            _check.at_most("the length of a sequence", length, "max_length", self.max_length)  # type: ignore[arg-type]
            position = self.position_embedding[:length]  # type: ignore[index]
        return h + jnp.broadcast_to(position.astype(h.dtype), h.shape)


def sinusoids(length: int, features: int) -> Array:
    """[length, features]: sines, then cosines, of position / 10000^(2i / features), i = 0, 1, …"""
    rates = 10000.0 ** (-jnp.arange(0, features, 2, dtype=float) / features)
    angles = jnp.outer(jnp.arange(length, dtype=float), rates)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[:, :features]


def _mean(h: Array, mask: Array | None) -> Array:
    """The mean over the unmasked positions; 0 if all are masked."""
    if mask is None:
        return jnp.mean(h, axis=-2)
    # In half precision a sum and a count overflow: 70,000 positions are infinitely many in float16.
    total = jnp.sum(wide(_zero_masked(h, mask)), axis=-2)
    count = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
    return (total / count.astype(total.dtype)).astype(h.dtype)


def _zero_masked(h: Array, mask: Array | None) -> Array:
    """`h` with zeros at the masked positions."""
    if mask is None:
        return h
    return jnp.where(jnp.broadcast_to(mask[..., None], h.shape), h, 0)

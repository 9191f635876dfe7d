from collections.abc import Callable
from typing import Any

import jax

from funcnet import _keys
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers import Activation, Dropout, Linear, MultiHeadAttention
from funcnet.layers._norm import LayerNorm


class Block(Module):
    """x + attention(norm(x)), and then x + mlp(norm(x)), with dropout on both branches."""

    features: int
    num_heads: int
    hidden_features: int
    dropout: float | Array | Buffer = 0.0
    activation: Callable[[Array], Array] = jax.nn.gelu
    qkv_bias: bool = False
    norms: tuple[LayerNorm, LayerNorm] | None = None
    attention: MultiHeadAttention | None = None
    expand: Linear | None = None
    contract: Linear | None = None
    drop: Dropout | None = None

    def __post_init__(self) -> None:
        parts: dict[str, Any] = {
            "norms": (LayerNorm(self.features),) * 2,
            "attention": MultiHeadAttention(self.features, self.num_heads, qkv_bias=self.qkv_bias),
            "expand": Linear(self.features, self.hidden_features, weight_init="he_normal"),
            "contract": Linear(self.hidden_features, self.features),
            # None without dropout, so that enclosing models need not pass a key.
            "drop": Dropout(self.dropout) if self.dropout else None,
        }
        for name, part in parts.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, part)

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        first, second = _keys.split(key)
        norms: Any = self.norms
        x = x + self._apply_dropout(self.attention(norms[0](x), mask=mask), first)  # type: ignore[misc]
        hidden = Activation(self.activation)(self.expand(norms[1](x)))  # type: ignore[misc]
        return x + self._apply_dropout(self.contract(hidden), second)  # type: ignore[misc]

    def _apply_dropout(self, x: Array, key: Key | None) -> Array:
        return x if self.drop is None else self.drop(x, key=key)

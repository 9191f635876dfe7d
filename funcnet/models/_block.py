from typing import Any

import jax

from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers import Dropout, Linear, MultiHeadAttention
from funcnet.layers._norm import LayerNorm


class Block(Module):
    """x + attention(norm(x)), and then x + mlp(norm(x)), with dropout on both branches."""

    features: int
    heads: int
    hidden: int
    dropout: float = 0.0
    norms: tuple[LayerNorm, LayerNorm] | None = None
    attention: MultiHeadAttention | None = None
    expand: Linear | None = None
    contract: Linear | None = None
    drop: Dropout | None = None

    def __post_init__(self) -> None:
        made: dict[str, Any] = {
            "norms": (LayerNorm(self.features),) * 2,
            "attention": MultiHeadAttention(self.features, self.heads),
            "expand": Linear(self.features, self.hidden, weight_init="he_normal"),
            "contract": Linear(self.hidden, self.features),
            # Only where there is dropout does a model around this one have to hand a key on.
            "drop": Dropout(self.dropout) if self.dropout else None,
        }
        for name, part in made.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, part)

    def __call__(self, x: Array, key: Key | None = None, *, mask: Array | None = None) -> Array:
        first, second = (None, None) if key is None else jax.random.split(key)
        norms: Any = self.norms
        x = x + self._dropped(self.attention(norms[0](x), mask=mask), first)  # type: ignore[misc]
        hidden = jax.nn.gelu(self.expand(norms[1](x)))  # type: ignore[misc]
        return x + self._dropped(self.contract(hidden), second)  # type: ignore[misc]

    def _dropped(self, x: Array, key: Key | None) -> Array:
        return x if self.drop is None else self.drop(x, key=key)

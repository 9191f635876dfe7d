from collections.abc import Callable
from dataclasses import KW_ONLY

import jax

from funcnet import _check, _keys
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers import Activation, Dropout, LayerNorm, Linear, Residual, Sequential
from funcnet.layers._dropout import as_setting
from funcnet.layers._linear import INITIALIZERS, Initializer, Size


class ResMLP(Module):
    """A deep MLP of residual blocks, each x + linear(activation(linear(norm(x)))).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output, or "scalar" for one number of shape ().
        width: number of features between and inside the blocks.
        depth: number of blocks of two linear layers each.
        activation: activation function inside the blocks.
        dropout: dropout rate of the hidden units, in [0, 1); an array may be
            traced, as for `Dropout`.
        weight_init: how `init` draws the first layer of each block; the default suits ReLU.
        embed: the linear layer before the blocks, built from the sizes if None.
        blocks: the blocks, built from the sizes if None.
        norm: the layer norm before the last layer, built from the sizes if None.
        out: the last layer, built from the sizes if None.

    Returns:
        When called on x of shape [..., in_features]: [..., out_features], or [...] for "scalar".

    Raises:
        ValueError: if a size is below 1 or the last axis of x is not `in_features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.ResMLP(4, 3, width=16, depth=20).init(jax.random.key(0))
        >>> model(jnp.ones((150, 4))).shape, fn.count(model)
        ((150, 3), 11683)

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", 2016.
    """

    in_features: int
    out_features: Size
    _: KW_ONLY
    width: int = 64
    depth: int = 4
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float | Array | Buffer = 0.0
    weight_init: Initializer = "he_normal"
    embed: Linear | None = None
    blocks: tuple[Residual, ...] | None = None
    norm: LayerNorm | None = None
    out: Linear | None = None

    def __post_init__(self) -> None:
        _check.positive("in_features", self.in_features)
        _check.size("out_features", self.out_features)
        _check.positive("width", self.width)
        _check.depth("depth", self.depth)
        object.__setattr__(self, "dropout", as_setting("dropout", self.dropout))
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)
        _check.takes("activation", self.activation, "a function of an array, such as jax.nn.relu", None)
        parts = {
            "embed": lambda: Linear(self.in_features, self.width),
            "blocks": lambda: tuple(self._block() for _ in range(self.depth)),
            "norm": lambda: LayerNorm(self.width),
            "out": lambda: Linear(self.width, self.out_features),
        }
        for name, build in parts.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, build())

    def _block(self) -> Residual:
        return Residual(
            Sequential(
                LayerNorm(self.width),
                Linear(self.width, self.width, weight_init=self.weight_init),
                Activation(self.activation),
                Dropout(self.dropout),
                Linear(self.width, self.width),
            )
        )

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = self.embed(x)  # type: ignore[misc]
        for i, block in enumerate(self.blocks or ()):
            x = block(x, key=_keys.fold_in(key, i))
        return self.out(self.norm(x))  # type: ignore[misc]

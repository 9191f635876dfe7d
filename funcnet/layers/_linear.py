from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._product import product

Initializer: TypeAlias = str | Callable[..., Array]
"""The name of a factory in `jax.nn.initializers` ("he_normal", "glorot_uniform", "lecun_normal", …),
or a function `(key, shape, dtype) -> array`."""

Size: TypeAlias = int | Literal["scalar"]
"""A number of features, or "scalar" for a single output without a feature axis."""

INITIALIZERS = (
    *(
        f"{scheme}_{distribution}"
        for scheme in ("glorot", "he", "lecun")
        for distribution in ("normal", "uniform")
    ),
    *("normal", "orthogonal", "uniform", "zeros"),
)


class Linear(Module):
    """The affine map x @ weight + bias on the last axis.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output, or "scalar" for outputs without that axis:
            one number of shape () for each example.
        use_bias: whether a bias is added.
        weight_init: how `init` draws the weight; the bias starts at zero. The default, N(0, 1 /
            in_features), preserves the variance of the input.
        weight: [in_features, out_features], drawn by `init` if None.
        bias: [out_features], set to zero by `init` if None.

    Returns:
        When called on x of shape [..., in_features]: [..., out_features].

    Raises:
        ValueError: if a size is below 1, the name of the initializer is unknown, or the last axis
            of x is not `in_features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.Linear(2, 3, weight_init="he_normal").init(jax.random.key(0))
        >>> layer(jnp.ones(2)).shape, layer(jnp.ones((5, 2))).shape
        ((3,), (5, 3))
        >>> fn.Linear(2, "scalar").init(jax.random.key(0))(jnp.ones((5, 2))).shape
        (5,)

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998 (initial weights).
    """

    in_features: int
    out_features: Size
    _: KW_ONLY
    use_bias: bool = True
    weight_init: Initializer = "lecun_normal"
    weight: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None

    def __post_init__(self) -> None:
        _check.positive("in_features", self.in_features)
        _check.size("out_features", self.out_features)
        _check.boolean("use_bias", self.use_bias)
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        width = 1 if self.out_features == "scalar" else self.out_features
        out = () if self.out_features == "scalar" else (width,)
        weight = draw_weight(self.weight_init, key, (self.in_features, width))
        parameters = {"weight": weight.reshape((self.in_features, *out))}
        return parameters | {"bias": jnp.zeros(out)} if self.use_bias else parameters

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.last_axis(f"Linear({self.in_features}, {self.out_features!r})", x, self.in_features)
        y = product(x, self.weight)  # type: ignore[arg-type]
        return y if self.bias is None else y + jnp.broadcast_to(self.bias, y.shape)


def draw_weight(init: Initializer, key: Key, shape: tuple[int, ...]) -> Array:
    """A weight from an initializer, or from a function (key, shape, dtype) -> array."""
    draw = getattr(jax.nn.initializers, init) if isinstance(init, str) else init
    if isinstance(init, str) and init != "zeros":  # the others are made with their default settings
        draw = draw()
    weight = _check.jax_array("what weight_init returns", draw(key, shape, jnp.zeros(()).dtype))
    if weight.shape != shape:
        raise ValueError(f"weight_init must return an array of shape {shape}, got shape {weight.shape}.")
    return weight

from dataclasses import KW_ONLY

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers import Linear
from funcnet.layers._linear import INITIALIZERS, Initializer, Size


class LinearRegression(Module):
    """Linear regression, x @ weight + bias, initialized to zero.

    Args:
        in_features: number of features.
        out_features: "scalar" for one target of shape (), or the number of targets.
        linear: the layer; pass one with `weight` and `bias` set to choose the initial values.

    Returns:
        When called on x of shape [..., in_features]: [...] for "scalar", else [..., out_features].

    Raises:
        ValueError: if a size is below 1 or the last axis of x is not `in_features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> float(model(jnp.ones(1))), model.linear.weight.shape
        (0.0, (1,))

    Source: Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805.
    """

    in_features: int
    out_features: Size = "scalar"
    _: KW_ONLY
    linear: Linear | None = None

    def __post_init__(self) -> None:
        _check.positive("in_features", self.in_features)
        _check.size("out_features", self.out_features)
        if self.linear is None:
            linear = Linear(self.in_features, self.out_features, weight_init="zeros")
            object.__setattr__(self, "linear", linear)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self.linear(x)  # type: ignore[misc]


class Perceptron(Module):
    """A linear classifier: logits x @ weight + bias, class 1 above zero.

    With `binary_cross_entropy` as its loss it is logistic regression; with out_features=k and
    `cross_entropy`, multinomial logistic regression.

    Args:
        in_features: number of features.
        out_features: "scalar" for one logit of shape () (two classes), or the number of classes.
        weight_init: how `init` draws the weight, as for `Linear`.
        linear: the layer; pass one with `weight` and `bias` set to choose the initial values.

    Returns:
        When called on x of shape [..., in_features]: logits [...] for "scalar", else
        [..., out_features].

    Raises:
        ValueError: if a size is below 1 or the last axis of x is not `in_features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.Perceptron(2).init(jax.random.key(0))
        >>> model(jnp.ones((7, 2))).shape
        (7,)

    Source: Rosenblatt, "The perceptron", Psychological Review 65, 1958; Cox, "The regression
    analysis of binary sequences", 1958 (the logistic loss).
    """

    in_features: int
    out_features: Size = "scalar"
    _: KW_ONLY
    weight_init: Initializer = "lecun_normal"
    linear: Linear | None = None

    def __post_init__(self) -> None:
        _check.positive("in_features", self.in_features)
        _check.size("out_features", self.out_features)
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)
        if self.linear is None:
            linear = Linear(self.in_features, self.out_features, weight_init=self.weight_init)
            object.__setattr__(self, "linear", linear)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        return self.linear(x)  # type: ignore[misc]

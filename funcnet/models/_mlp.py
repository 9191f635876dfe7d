from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY

import jax

from funcnet import _check, _keys
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers import Activation, Linear
from funcnet.layers._dropout import as_setting, with_rate
from funcnet.layers._linear import INITIALIZERS, Initializer, Size


class MLP(Module):
    """A multilayer perceptron: linear layers with an activation function and dropout between them.

    Args:
        sizes: features of the input, of each hidden layer and of the output; at least two entries. The
            last may be "scalar" for one number of shape () for each example.
        activation: activation function between the layers; none after the last.
        dropout: dropout rate of the hidden units, in [0, 1); an array may be
            traced, as for `Dropout`.
        weight_init: how `init` draws the hidden layers' weights, as for `Linear`; the default suits
            ReLU. The last layer uses "lecun_normal".
        layers: the linear layers, built from `sizes` if None.

    Returns:
        When called on x of shape [..., sizes[0]]: [..., sizes[-1]], or [...] for "scalar".

    Raises:
        ValueError: if there are fewer than two sizes, one is below 1, or the last axis of x is
            not `sizes[0]`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.MLP((4, 16, 3), activation=jax.nn.tanh).init(jax.random.key(0))
        >>> model(jnp.ones((150, 4))).shape, fn.count(model)
        ((150, 3), 131)

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015 (initial weights).
    """

    sizes: tuple[Size, ...]
    _: KW_ONLY
    activation: Callable[[Array], Array] = jax.nn.relu
    dropout: float | Array | Buffer = 0.0
    weight_init: Initializer = "he_normal"
    layers: tuple[Linear, ...] | None = None

    def __post_init__(self) -> None:
        sizes: Sequence[Size] = _check.sizes("sizes", self.sizes)
        _check.takes("activation", self.activation, "a function of an array, such as jax.nn.relu", None)
        _check.initializer("weight_init", self.weight_init, INITIALIZERS)
        object.__setattr__(self, "dropout", as_setting("dropout", self.dropout))
        object.__setattr__(self, "sizes", tuple(sizes))
        if self.layers is None:
            object.__setattr__(self, "layers", self._build_layers())

    def _build_layers(self) -> tuple[Linear, ...]:
        *inner, last = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        hidden = [Linear(a, b, weight_init=self.weight_init) for a, b in inner]  # type: ignore[arg-type]
        return (*hidden, Linear(*last))  # type: ignore[arg-type]

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        *hidden, last = self.layers  # type: ignore[misc]
        drop = with_rate(self.dropout)
        for i, layer in enumerate(hidden):
            x = Activation(self.activation)(layer(x))
            x = drop(x, key=_keys.fold_in(key, i))
        return last(x)

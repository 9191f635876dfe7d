from collections.abc import Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._linear import Size
from funcnet.layers._product import product


class Affine(Module):
    """x @ weight + bias, with weights drawn uniformly in ±bound and biases in ±1/√in_features."""

    in_features: int
    out_features: Size
    bound: float
    weight: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None

    def parameters(self, key: Key) -> Mapping[str, Array]:
        out = () if self.out_features == "scalar" else (self.out_features,)
        shapes = {"weight": (self.in_features, *out), "bias": out}
        bounds = {"weight": self.bound, "bias": self.in_features**-0.5}
        keys = dict(zip(shapes, jax.random.split(key), strict=True))
        return {n: bounds[n] * jax.random.uniform(keys[n], shapes[n], minval=-1.0) for n in shapes}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        y = product(x, self.weight)  # type: ignore[arg-type]
        return y + jnp.broadcast_to(self.bias, y.shape)  # type: ignore[arg-type]


class SIREN(Module):
    """An MLP with sine activations, sin(omega (x @ W + b)), for curves, images and fields.

    The last layer is linear. The weights of the first layer are drawn uniformly in ±1/in, the others in
    ±√(6/in)/omega, so that the argument of every hidden sine initially has variance about 1; biases are
    drawn uniformly in ±1/√in.

    Args:
        sizes: number of coordinates, features of each hidden layer, number of outputs; at least two
            entries. The last may be "scalar" for one number of shape () for each point.
        omega: omega of the first layer, its highest initial frequency in radians per unit of the input.
            30 suits images with coordinates in -1 .. 1.
        hidden_omega: omega of the other hidden layers.
        layers: the affine maps, built from `sizes` if None.

    Returns:
        When called on x of shape [..., sizes[0]]: [..., sizes[-1]], or [...] for "scalar".

    Raises:
        ValueError: if there are fewer than two sizes, one is below 1, an omega is not above 0, or the
            last axis of x is not `sizes[0]`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.SIREN((1, 32, "scalar")).init(jax.random.key(0))
        >>> derivative = jax.vmap(jax.grad(lambda x: model(x[None])))  # smooth to every order
        >>> model(jnp.ones((9, 1))).shape, derivative(jnp.ones(9)).shape
        ((9,), (9,))

    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein, "Implicit neural representations with
    periodic activation functions", 2020 (biases as in the authors' code).
    """

    sizes: tuple[Size, ...]
    _: KW_ONLY
    omega: float = 30.0
    hidden_omega: float = 30.0
    layers: tuple[Affine, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(_check.sizes("sizes", self.sizes)))
        _check.above_zero("omega", self.omega)
        _check.above_zero("hidden_omega", self.hidden_omega)
        if self.layers is None:
            object.__setattr__(self, "layers", self._build_layers())

    def _build_layers(self) -> tuple[Affine, ...]:
        first, *rest = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        others = [Affine(a, b, (6 / a) ** 0.5 / self.hidden_omega) for a, b in rest]  # type: ignore[arg-type, operator]
        return (Affine(*first, 1 / first[0]), *others)  # type: ignore[arg-type, operator]

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.last_axis("SIREN", x, self.sizes[0])  # type: ignore[arg-type]
        *hidden, last = self.layers  # type: ignore[misc]
        for i, layer in enumerate(hidden):
            x = jnp.sin(float(self.hidden_omega if i else self.omega) * layer(x))
        return last(x)

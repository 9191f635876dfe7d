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
    """x @ weight + bias, with weights uniform in ±bound and biases uniform in ±1/√in_features."""

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
    """A network of sines, for curves, images and fields: each layer gives sin(omega (x @ W + b)).

    The last layer is x @ W + b. The first layer's weights are uniform in ±1/in, the others' in
    ±√(6/in)/omega, so that the argument of every hidden sine starts with variance about 1; biases are
    uniform in ±1/√in.

    Args:
        sizes: coordinates, features of each hidden layer and outputs, at least two. The last may be
            "scalar": one number of shape () for each point.
        omega: of the first layer: the highest frequency that it starts with, in radians for one unit
            of the input. Coordinates in -1 .. 1 and 30 suit images.
        hidden_omega: of the other hidden layers.
        layers: the affine maps, made from `sizes` when left out.

    Returns:
        When called on x of shape [..., sizes[0]]: [..., sizes[-1]], or [...] for "scalar".

    Raises:
        ValueError: if there are fewer than two sizes, one is below 1, an omega is not above 0, or x has
            another last axis.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.SIREN((1, 32, "scalar")).init(jax.random.key(0))
        >>> slope = jax.vmap(jax.grad(lambda x: model(x[None])))  # smooth, so are its derivatives
        >>> model(jnp.ones((9, 1))).shape, slope(jnp.ones(9)).shape
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
            object.__setattr__(self, "layers", self._made())

    def _made(self) -> tuple[Affine, ...]:
        first, *rest = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        others = [Affine(a, b, (6 / a) ** 0.5 / self.hidden_omega) for a, b in rest]  # type: ignore[arg-type, operator]
        return (Affine(*first, 1 / first[0]), *others)  # type: ignore[arg-type, operator]

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        _check.last_axis("SIREN", x, self.sizes[0])  # type: ignore[arg-type]
        *hidden, last = self.layers  # type: ignore[misc]
        for i, layer in enumerate(hidden):
            x = jnp.sin((self.hidden_omega if i else self.omega) * layer(x))
        return last(x)

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers._linear import Size
from funcnet.models._mlp import MLP


class FourierMLP(Module):
    """An MLP on random Fourier features, for curves, images and fields: MLP([cos 2πxB | sin 2πxB]).

    The entries of B are drawn once from N(0, scale²) and never trained. A large scale lets fine detail
    be learned fast, a small one keeps the function smooth between the points.

    Args:
        sizes: coordinates, features of each hidden layer and outputs, at least two. The last may be
            "scalar": one number of shape () for each point.
        count: number of frequencies; the MLP sees twice as many features.
        scale: standard deviation of the frequencies, in cycles for one unit of the input.
        activation: between the MLP's layers.
        frequencies: B, a Buffer of [sizes[0], count], drawn by `init` when left out.
        mlp: MLP((2 * count, *sizes[1:])), made when left out.

    Returns:
        When called on x of shape [..., sizes[0]]: [..., sizes[-1]], or [...] for "scalar".

    Raises:
        ValueError: if there are fewer than two sizes, one or `count` is below 1, `scale` is not above
            0, or x has another last axis.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.FourierMLP((2, 16, 3), count=8).init(jax.random.key(0))
        >>> model(jnp.ones((5, 2))).shape, model.frequencies.value.shape, fn.count(model)
        ((5, 3), (2, 8), 323)

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low
    dimensional domains", 2020; Rahimi, Recht, "Random features for large-scale kernel machines", 2007.
    """

    sizes: tuple[Size, ...]
    _: KW_ONLY
    count: int = 128
    scale: float = 10.0
    activation: Callable[[Array], Array] = jax.nn.relu
    frequencies: Buffer | None = None
    mlp: MLP | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(_check.sizes("sizes", self.sizes)))
        _check.positive("count", self.count)
        _check.above_zero("scale", self.scale)
        if self.mlp is None:
            made = MLP((2 * self.count, *self.sizes[1:]), activation=self.activation)
            object.__setattr__(self, "mlp", made)

    def parameters(self, key: Key) -> Mapping[str, Buffer]:  # type: ignore[override]
        drawn = jax.random.normal(key, (self.sizes[0], self.count))  # type: ignore[arg-type]
        return {"frequencies": Buffer(self.scale * drawn)}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        _check.last_axis("FourierMLP", x, self.sizes[0])  # type: ignore[arg-type]
        phases = 2 * math.pi * jnp.matmul(x, self.frequencies.value)  # type: ignore[union-attr]
        waves = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=-1)
        return self.mlp(waves, key=key)  # type: ignore[misc]

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers._dtype import as_floating, wide
from funcnet.layers._linear import Size
from funcnet.models._mlp import MLP


class FourierMLP(Module):
    """An MLP on random Fourier features, MLP([cos 2πxB | sin 2πxB]), for curves, images and fields.

    The entries of B are drawn from N(0, scale²) by `init` and never trained. With a large scale the model
    learns fine detail quickly; with a small one it stays smooth between the data points.

    Args:
        sizes: number of coordinates, features of each hidden layer, number of outputs; at least two
            entries. The last may be "scalar" for one number of shape () for each point.
        num_frequencies: number of frequencies; the MLP has twice as many inputs.
        scale: standard deviation of the frequencies, in cycles per unit of the input.
        activation: activation function between the layers of the MLP.
        frequencies: B, a Buffer of [sizes[0], num_frequencies], drawn by `init` if None.
        mlp: MLP((2 * num_frequencies, *sizes[1:])), built if None.

    Returns:
        When called on x of shape [..., sizes[0]]: [..., sizes[-1]], or [...] for "scalar".

    Raises:
        ValueError: if there are fewer than two sizes, one of them or `num_frequencies` is below 1, `scale`
            is not above 0, or the last axis of x is not `sizes[0]`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.models.FourierMLP((2, 16, 3), num_frequencies=8).init(jax.random.key(0))
        >>> model(jnp.ones((5, 2))).shape, model.frequencies.value.shape, fn.count(model)
        ((5, 3), (2, 8), 323)

    Source: Tancik et al., "Fourier features let networks learn high frequency functions in low
    dimensional domains", 2020; Rahimi, Recht, "Random features for large-scale kernel machines", 2007.
    """

    sizes: tuple[Size, ...]
    _: KW_ONLY
    num_frequencies: int = 128
    scale: float = 10.0
    activation: Callable[[Array], Array] = jax.nn.relu
    frequencies: Buffer | None = None
    mlp: MLP | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(_check.sizes("sizes", self.sizes)))
        _check.takes("activation", self.activation, "a function of an array, such as jax.nn.relu", None)
        _check.positive("num_frequencies", self.num_frequencies)
        _check.above_zero("scale", self.scale)
        if self.mlp is None:
            mlp = MLP((2 * self.num_frequencies, *self.sizes[1:]), activation=self.activation)
            object.__setattr__(self, "mlp", mlp)

    def parameters(self, key: Key) -> Mapping[str, Buffer]:  # type: ignore[override]
        normal = jax.random.normal(key, (self.sizes[0], self.num_frequencies))  # type: ignore[arg-type]
        return {"frequencies": Buffer(float(self.scale) * normal)}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = _check.last_axis("FourierMLP", x, self.sizes[0])  # type: ignore[arg-type]
        points = wide(x)  # a phase of 100 has no digit after the point in bfloat16
        frequencies: Array = self.frequencies.value  # type: ignore[union-attr]
        phases = 2 * math.pi * jnp.matmul(points, frequencies.astype(points.dtype), precision="highest")
        waves = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=-1)
        return self.mlp(as_floating(waves, x.dtype), key=key)  # type: ignore[misc]

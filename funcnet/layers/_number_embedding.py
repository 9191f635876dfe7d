import math
from collections.abc import Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Float, Key
from funcnet.layers._dtype import as_floating, wide


class NumberEmbedding(Module):
    """An embedding of each number: the number itself, and a linear map of cosines of it.

    A feature x becomes [x, cos(2π(x·frequency + phase)) · weight + bias]: with it, an MLP on a table learns
    steps and bumps along a column that it would need a layer for. Features should have a scale of about 1.

    Args:
        features: number of features, each with an embedding of its own.
        num_frequencies: cosines of each feature.
        embedding_size: size of an embedding beside the number itself.
        frequency: [features, num_frequencies], drawn from N(0, 0.1²) by `init` if None.
        phase: [features, num_frequencies], drawn from U(-1/2, 1/2) by `init` if None.
        weight: [features, num_frequencies, embedding_size], drawn from U(-1/√num_frequencies,
            1/√num_frequencies) by `init` if None.
        bias: [features, embedding_size], zero by `init` if None.

    Returns:
        When called on x of shape [..., features]: [..., features * (1 + embedding_size)].

    Raises:
        ValueError: if a size is below 1, or the last axis of x is not `features`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.NumberEmbedding(4).init(jax.random.key(0))
        >>> layer(jnp.ones(4)).shape, layer(jnp.ones((5, 4))).shape
        ((16,), (5, 16))

    Source: Gorishniy, Rubachev, Babenko, "On embeddings for numerical features in tabular deep learning",
    2022; without an activation and with the number itself in Holzmüller, Grinsztajn, Steinwart, "Better by
    default: strong pre-tuned MLPs and boosted trees on tabular data", 2024.
    """

    features: int
    _: KW_ONLY
    num_frequencies: int = 16
    embedding_size: int = 3
    frequency: Float[Array, "features num_frequencies"] | None = None
    phase: Float[Array, "features num_frequencies"] | None = None
    weight: Float[Array, "features num_frequencies embedding_size"] | None = None
    bias: Float[Array, "features embedding_size"] | None = None

    def __post_init__(self) -> None:
        for name in ("features", "num_frequencies", "embedding_size"):
            _check.positive(name, getattr(self, name))

    def parameters(self, key: Key) -> Mapping[str, Array]:
        frequency_key, phase_key, weight_key = jax.random.split(key, 3)
        shape, bound = (self.features, self.num_frequencies), self.num_frequencies**-0.5
        weight_shape = (*shape, self.embedding_size)
        return {
            "frequency": 0.1 * jax.random.normal(frequency_key, shape),
            "phase": jax.random.uniform(phase_key, shape, minval=-0.5, maxval=0.5),
            "weight": jax.random.uniform(weight_key, weight_shape, minval=-bound, maxval=bound),
            "bias": jnp.zeros((self.features, self.embedding_size)),
        }

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.last_axis("NumberEmbedding", x, self.features)
        numbers = wide(x)  # a phase has few digits in bfloat16
        parameters = self.frequency, self.phase, self.weight, self.bias
        frequency, phase, weight, bias = (jnp.asarray(p).astype(numbers.dtype) for p in parameters)
        turns = jnp.expand_dims(numbers, -1) * jnp.broadcast_to(frequency, (*x.shape, frequency.shape[-1]))
        waves = jnp.cos(2 * math.pi * (turns + jnp.broadcast_to(phase, turns.shape)))
        embedding = jnp.einsum("...fk,fkd->...fd", waves, weight)
        embedding = embedding + jnp.broadcast_to(bias, embedding.shape)
        both = jnp.concatenate([jnp.expand_dims(numbers, -1), embedding], axis=-1)
        return as_floating(both.reshape(*x.shape[:-1], math.prod(both.shape[-2:])), x.dtype)

from collections.abc import Mapping
from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._module import Module
from funcnet._types import Array, Float, Key


class Embedding(Module):
    """A lookup table of learned vectors: weight[x] for integers x.

    Args:
        num_embeddings: number of rows; inputs are 0 .. num_embeddings-1.
        features: size of each vector.
        weight: [num_embeddings, features], drawn from N(0, 1) by `init` if None.

    Returns:
        When called on integers x of any shape [...]: [..., features]. Under tracing (inside `jit`,
        `vmap`, `fit`), where an integer out of range can't be detected, its vector is NaN.

    Raises:
        TypeError: if x does not hold integers.
        ValueError: if a size is below 1, or x holds an integer outside 0 .. num_embeddings-1.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.Embedding(10, 4).init(jax.random.key(0))
        >>> layer(jnp.array(3)).shape, layer(jnp.zeros((5, 7), int)).shape
        ((4,), (5, 7, 4))

    Source: Bengio, Ducharme, Vincent, Jauvin, "A neural probabilistic language model", JMLR 3, 2003.
    """

    num_embeddings: int
    features: int
    _: KW_ONLY
    weight: Float[Array, "num_embeddings features"] | None = None

    def __post_init__(self) -> None:
        _check.positive("num_embeddings", self.num_embeddings)
        _check.positive("features", self.features)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        return {"weight": jax.random.normal(key, (self.num_embeddings, self.features))}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        indices = _check.integers("Embedding", x)
        if _tree.is_concrete(indices):
            _check.integers_below("Embedding", indices, self.num_embeddings)
        weight = jnp.asarray(self.weight)
        return weight.at[indices].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)

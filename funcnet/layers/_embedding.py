from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._module import Module
from funcnet._types import Array, Float, Key


class Embedding(Module):
    """A row of a learned table for each whole number: weight[x].

    Args:
        count: how many numbers there are: 0 .. count-1.
        features: size of a row.
        weight: [count, features], drawn from N(0, 1) by `init` when left out.

    Returns:
        When called on whole numbers x of any shape [...]: [..., features]. A number out of range that
        can't be read when it is traced (inside `jit`, `vmap`, `fit`) gives a row of NaN, never
        another number's row.

    Raises:
        TypeError: if x holds no whole numbers.
        ValueError: if a size is below 1, or x holds a number outside 0 .. count-1.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.Embedding(10, 4).init(jax.random.key(0))
        >>> layer(jnp.array(3)).shape, layer(jnp.zeros((5, 7), int)).shape
        ((4,), (5, 7, 4))

    Source: Bengio, Ducharme, Vincent, Jauvin, "A neural probabilistic language model", JMLR 3, 2003.
    """

    count: int
    features: int
    _: KW_ONLY
    weight: Float[Array, "count features"] | None = None

    def __post_init__(self) -> None:
        _check.positive("count", self.count)
        _check.positive("features", self.features)

    def parameters(self, key: Key) -> Mapping[str, Array]:
        return {"weight": jax.random.normal(key, (self.count, self.features))}

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        numbers = jnp.asarray(x)
        _check.integers("Embedding", numbers)
        if _tree.is_concrete(numbers):
            _check.integers_below("Embedding", numbers, self.count)
        weight: Any = self.weight
        return weight.at[numbers].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)

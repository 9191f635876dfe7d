from typing import ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._dtype import as_floating, wide


class Dropout(Module):
    """Dropout: in training each entry is zeroed with probability `rate`, others become x / (1 - rate).

    Args:
        rate: probability that an entry is zeroed, in [0, 1).

    Returns:
        When called on x of any shape: the same shape. Without a key, x itself.

    Raises:
        ValueError: if `rate` is outside [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> drop = fn.Dropout(0.5)
        >>> drop(jnp.ones(4)).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> sorted(set(drop(jnp.ones(100), key=jax.random.key(0)).tolist()))
        [0.0, 2.0]

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014
    (scaled in training rather than at inference).
    """

    needs_key: ClassVar[bool] = True
    rate: float = 0.5

    def __post_init__(self) -> None:
        _check.between("rate", self.rate, 0.0, 1.0)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = _check.layer_input("Dropout", x)
        if key is None or self.rate == 0.0:
            return x
        _check.key(key)
        return scale_kept(x, jax.random.bernoulli(key, 1.0 - self.rate, x.shape), self.rate)


def scale_kept(x: Array, keep: Array, rate: float) -> Array:
    """x / (1 - rate) where `keep` is True, else 0.

    In half precision 1 - rate itself would be rounded, 0.9 to 0.898, and shift every mean by that.
    """
    scaled = as_floating(wide(x) / (1.0 - rate), x.dtype)
    return jnp.where(keep, scaled, jnp.zeros_like(scaled))

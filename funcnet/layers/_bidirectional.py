from dataclasses import KW_ONLY

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key


class Bidirectional(Module):
    """Two recurrent layers in opposite directions: [forward(x) | reverse(backward(reverse(x)))].

    Args:
        forward: a layer from [..., length, in] to [..., length, features], such as a GRU.
        backward: the layer that reads the sequence from its end. If None, a layer of the same
            architecture with its own parameters.

    Returns:
        When called on x of shape [..., length, in]: [..., length, 2 * features].

    Raises:
        TypeError: if `forward` is not a module.
        ValueError: if `forward` is initialized already and `backward` is None: both would start with the
            same parameters.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> layer = fn.layers.Bidirectional(fn.layers.GRU(2, 5)).init(jax.random.key(0))
        >>> layer(jnp.ones((3, 7, 2))).shape
        (3, 7, 10)

    Source: Schuster, Paliwal, "Bidirectional recurrent neural networks", 1997.
    """

    forward: Module
    _: KW_ONLY
    backward: Module | None = None

    def __post_init__(self) -> None:
        if self.backward is None:
            _check.architecture_only("forward", self.forward)
            object.__setattr__(self, "backward", self.forward)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        first, second = (None, None) if key is None else jax.random.split(key)
        forward = self.forward(x, key=first)  # type: ignore[operator]
        backward = self.backward(jnp.flip(x, -2), key=second)  # type: ignore[misc, operator]
        return jnp.concatenate([forward, jnp.flip(backward, -2)], axis=-1)

from collections.abc import Callable

import jax

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key


class Activation(Module):
    """A function of arrays as a layer: `function(x)`.

    `Sequential` wraps plain functions in it automatically.

    Args:
        function: a function from arrays to arrays, such as `jax.nn.relu`. Use a named function rather than
            a lambda, so that equal models compare equal.

    Returns:
        When called on x of any shape: `function(x)`.

    Raises:
        TypeError: if `function` is not a function of one array.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> float(fn.layers.Activation(jax.nn.relu)(jnp.array(-2.0)))
        0.0
    """

    function: Callable[[Array], Array]

    def __post_init__(self) -> None:
        _check.takes("function", self.function, "a function of arrays, such as jax.nn.relu", None)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        # Arrays pass as they are, complex ones too: the function may be jnp.abs after an FFT.
        return self.function(x if isinstance(x, jax.Array) else _check.layer_input("Activation", x))

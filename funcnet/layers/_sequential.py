from collections.abc import Callable, Sequence
from typing import Any

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._activation import Activation


class Sequential(Module):
    """Layers applied one after another; plain functions are allowed between them.

    Args:
        *steps: modules, or functions of one array such as `jax.nn.relu`.
        layers: a sequence of modules, instead of `steps`.

    Returns:
        When called on x: the output of the last layer. In training each layer gets its own key.

    Raises:
        TypeError: if a step is neither a module nor a function.
        ValueError: when called, if the sizes of consecutive layers don't match.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.Sequential(fn.Linear(2, 5), jax.nn.sigmoid, fn.Linear(5, "scalar"))
        >>> net.init(jax.random.key(0))(jnp.ones(2)).shape
        ()
    """

    layers: tuple[Module, ...]

    def __init__(self, *steps: Module | Callable[[Array], Array], layers: Sequence[Any] = ()) -> None:
        given = _check.layers("layers", steps or layers)
        modules = tuple(s if isinstance(s, Module) else Activation(s) for s in given)
        object.__setattr__(self, "layers", modules)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        for i, layer in enumerate(self.layers):
            x = layer(x, key=_keys.fold_in(key, i))  # type: ignore[operator]
        return x

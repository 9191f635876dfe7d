from collections.abc import Iterator, Sequence
from typing import Any

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key
from funcnet.layers._activation import Activation


class Sequential(Module):
    """Layers applied one after another; plain functions are allowed between them.

    `net[0]` is the first layer, `net[:-1]` a Sequential of all but the last one; both share the arrays of
    `net`. `len(net)` counts the layers, and a loop visits them.

    Args:
        *steps: modules, or functions of one array such as `jax.nn.relu`; or one list of them.
        layers: a sequence of modules, instead of `steps`.

    Returns:
        When called on x: the output of the last layer. In training each layer gets its own key.

    Raises:
        TypeError: if a step is neither a module nor a function, or an index not an integer or a slice.
        IndexError: if there is no layer of that index.
        ValueError: if there are steps and `layers`; when called, if the sizes of consecutive layers don't
            match.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.Sequential(fn.Linear(2, 5), jax.nn.sigmoid, fn.Linear(5, "scalar"))
        >>> net.init(jax.random.key(0))(jnp.ones(2)).shape
        ()
        >>> len(net), net[0].out_features, [type(layer).__name__ for layer in net[1:]]
        (3, 5, ['Activation', 'Linear'])
    """

    layers: tuple[Module, ...]

    def __init__(self, *steps: Any, layers: Sequence[Any] = ()) -> None:
        if len(steps) == 1 and isinstance(steps[0], list | tuple):
            steps = tuple(steps[0])
        if steps and layers:
            raise ValueError(
                f"layers must not be given beside steps, got {len(layers)} and {len(steps)} layers. Try "
                "fn.Sequential(fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1))."
            )
        given = _check.layers("layers", steps or layers)
        modules = tuple(s if isinstance(s, Module) else Activation(s) for s in given)
        object.__setattr__(self, "layers", modules)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        number, count = _check.integer("index", index), len(self)
        if not -count <= number < count:
            raise IndexError(f"index must be at least {-count} and below {count}, got {number}.")
        return self.layers[number]

    @_check.usage("net[1](net[0](x), length=length), layer by layer, in a Module of your own")
    def __call__(self, x: Array, key: Key | None = None) -> Array:
        for i, layer in enumerate(self.layers):
            x = layer(x, key=_keys.fold_in(key, i))  # type: ignore[operator]
        return x

import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key


class Residual(Module):
    """A residual connection: x + layer(x), or projection(x) + layer(x).

    Args:
        layer: a module that preserves the shape of x, or changes it in the same way as `projection`.
        projection: a module that maps x to the shape of `layer(x)`, such as a `Linear` or a `Conv2d`
            with kernel_size=1. If None, x is added as it is.

    Returns:
        When called on x: the shape of `layer(x)`.

    Raises:
        TypeError: if `layer` or `projection` is not a module.
        ValueError: when called, if the two terms have different shapes.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> block = fn.layers.Residual(fn.Linear(2, 2, weight_init="zeros"))
        >>> block.init(jax.random.key(0))(jnp.array([3.0, 4.0])).tolist()
        [3.0, 4.0]

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.
    """

    layer: Module
    projection: Module | None = None

    def __post_init__(self) -> None:
        _check.module("layer", self.layer)
        if self.projection is not None:
            _check.module("projection", self.projection)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        keys = _keys.split(key)
        x = _check.layer_input("Residual", x)
        y = self.layer(x, key=keys[0])  # type: ignore[operator]
        shortcut = x if self.projection is None else self.projection(x, key=keys[1])  # type: ignore[operator]
        if jnp.shape(shortcut) != jnp.shape(y):
            raise ValueError(
                f"Residual must add arrays of equal shape, got {jnp.shape(shortcut)} from x and "
                f"{jnp.shape(y)} from the layer. Project x to that shape: "
                "Residual(layer, projection=fn.Linear(4, 8))."
            )
        return shortcut + y

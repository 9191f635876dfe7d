from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key


class Flatten(Module):
    """The last axes as one; leading axes stay.

    Args:
        axes: how many axes become one: 3 for images [height, width, channels].

    Returns:
        When called on x of shape [..., *axes]: [..., their product].

    Raises:
        ValueError: if `axes` is below 1 or x has fewer axes.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> flat = fn.layers.Flatten(3)
        >>> flat(jnp.ones((7, 7, 64))).shape, flat(jnp.ones((5, 7, 7, 64))).shape
        ((3136,), (5, 3136))
    """

    axes: int = 3

    def __post_init__(self) -> None:
        _check.positive("axes", self.axes)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        _check.rank("Flatten", x, self.axes, f"{self.axes} axes")
        batch = x.shape[: x.ndim - self.axes]
        return x.reshape(*batch, -1)

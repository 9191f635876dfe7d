import math

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key


class Flatten(Module):
    """Merge the last axes into one; leading axes stay.

    Args:
        num_axes: number of axes to merge: 3 for images [height, width, channels].

    Returns:
        When called on x of shape [..., *merged]: [..., their product].

    Raises:
        ValueError: if `num_axes` is below 1 or x has fewer axes.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> flat = fn.layers.Flatten(3)
        >>> flat(jnp.ones((7, 7, 64))).shape, flat(jnp.ones((5, 7, 7, 64))).shape
        ((3136,), (5, 3136))
    """

    num_axes: int = 3

    def __post_init__(self) -> None:
        _check.positive("num_axes", self.num_axes)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.rank("Flatten", x, self.num_axes, f"{self.num_axes} axes")
        rank = x.ndim - self.num_axes
        return x.reshape(*x.shape[:rank], math.prod(x.shape[rank:]))  # -1 needs a row

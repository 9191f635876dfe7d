import math

from funcnet import _check
from funcnet._module import Module
from funcnet._types import Array, Key


class Reshape(Module):
    """Give the last axes of an input another shape; leading axes stay. The inverse of `Flatten`.

    Args:
        shape: the new shape of one example; one entry may be -1, for whatever is left.
        num_axes: number of axes of one example of the input: 1 for rows, 3 for images [height, width,
            channels].

    Returns:
        When called on x of shape [..., *old]: [..., *shape], the numbers in the same order.

    Raises:
        TypeError: if `shape` is not a tuple of integers.
        ValueError: if an entry is neither positive nor the only -1, `num_axes` is below 1, x has fewer
            axes, or another number of entries.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> image = fn.layers.Reshape((7, 7, 64))
        >>> image(jnp.ones(3136)).shape, image(jnp.ones((5, 3136))).shape
        ((7, 7, 64), (5, 7, 7, 64))
        >>> fn.layers.Reshape((-1, 64), num_axes=3)(jnp.ones((5, 7, 7, 64))).shape
        (5, 49, 64)
    """

    shape: tuple[int, ...]
    num_axes: int = 1

    def __post_init__(self) -> None:
        _check.positive("num_axes", self.num_axes)
        given = self.shape
        entries = list(given) if isinstance(given, tuple | list) else given
        free = entries.count(-1) if isinstance(entries, list) else 0
        known = [n for n in entries if n != -1] if free == 1 else entries
        if known or free != 1:
            _check.positive_integers("shape", known, "(7, 7, 64)")
        object.__setattr__(self, "shape", tuple(entries))

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        del key
        x = _check.rank("Reshape", x, self.num_axes, f"{self.num_axes} axes")
        batch, example = x.shape[: x.ndim - self.num_axes], x.shape[x.ndim - self.num_axes :]
        size, known = math.prod(example), math.prod(n for n in self.shape if n != -1)
        if size % known if -1 in self.shape else size != known:
            raise ValueError(
                f"shape of Reshape must have as many entries as an example, {example}, got {self.shape}. "
                f"An example is the last {self.num_axes} axes of an input, here of shape {x.shape}: set "
                "num_axes to the number of its axes."
            )
        return x.reshape(*batch, *(size // known if n == -1 else n for n in self.shape))

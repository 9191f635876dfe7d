"""The columns of a table as they were read: numbers and categories, with gaps."""

import dataclasses
import functools
from typing import NoReturn

import jax

from funcnet._types import Array, Bool, Float


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values", "missing"],
    meta_fields=["names", "categories"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """Raw columns of text or with gaps, which no network can read. An `Encoder` makes features of them.

    A pytree, so a Dataset holds it in place of an array x, and `split`, `kfold` and `vmap` go over its
    rows. Names and categories are static.

    Args:
        values: [..., columns]: numbers, and for a column of text the number of the category; 0 in a gap.
        missing: booleans of the same shape, True in a gap.
        names: one for each column.
        categories: for each column its words, in the order of their numbers; None for numbers.

    Raises:
        TypeError: where a layer takes them for an array.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> columns = fn.data.Columns(
        ...     values=jnp.array([[31.0, 0.0], [0.0, 1.0]]),
        ...     missing=jnp.array([[False, False], [True, False]]),
        ...     names=("age", "city"),
        ...     categories=(None, ("Oslo", "Rome")),
        ... )
        >>> encoder = fn.data.Encoder.fit((columns, jnp.array([0, 1])))
        >>> encoder.transform(columns).tolist()
        [[31.0, 1.0, 0.0], [31.0, 0.0, 1.0]]
    """

    values: Float[Array, "*rows columns"]
    missing: Bool[Array, "*rows columns"]
    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    @property
    def shape(self) -> NoReturn:
        """None: whatever asks for it takes these for an array."""
        raise TypeError(
            "raw columns of a table with text or gaps came where an array of features is wanted. Make "
            "features of them: encoder = fn.data.Encoder.fit(train); train = encoder.transform(train)."
        )

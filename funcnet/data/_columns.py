"""The raw columns of a table: numbers and categories, with gaps."""

import dataclasses
import functools
from typing import Any, NoReturn

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, Bool, Float


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values", "missing"],
    meta_fields=["names", "categories"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """Raw columns with text or gaps, which a network can't take as input. An `Encoder` makes them features.

    A pytree, so a Dataset can hold it in place of an array x, and `split`, `kfold` and `vmap` work on its
    rows. Names and categories are static.

    Args:
        values: [..., columns]: numbers; for a column of text the number of the category; 0 in a gap. From a
            file, float64 of NumPy's; in a Dataset, an array of JAX.
        missing: booleans of the same shape, True in a gap.
        names: one for each column.
        categories: for each column its strings, in the order of their numbers; None for numbers.

    Raises:
        TypeError: if names or categories are not tuples, or if a layer uses the columns as an array.
        ValueError: if there are not as many categories as names.

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

    values: Float[Array | np.ndarray, "*rows columns"]
    missing: Bool[Array | np.ndarray, "*rows columns"]
    names: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]

    def __post_init__(self) -> None:
        check_names(self.names, self.categories)

    def __jax_array__(self) -> NoReturn:
        """Raises: code that makes an array of this expects numbers."""
        raise TypeError(
            "features must be an array, got the raw columns of a table with text or gaps. Encode them: "
            "encoder = fn.data.Encoder.fit(train); train = encoder.transform(train)."
        )

    @property
    def shape(self) -> NoReturn:
        """Raises: code that reads a shape expects an array."""
        self.__jax_array__()


def checked_columns(columns: Columns) -> Columns:
    """The columns with arrays in both fields, after a check that shapes and category numbers match.

    An Encoder calls it: `Columns` itself is also built by JAX, with placeholders.
    """
    values, missing = _check.array("values", columns.values), _check.array("missing", columns.missing)
    if values.shape[-1:] != (len(columns.names),):
        raise ValueError(
            f"values must be [..., columns] for the {len(columns.names)} columns "
            f"{', '.join(columns.names)}, got shape {values.shape}."
        )
    _check.same_shape("missing", missing, "values", values)
    if missing.dtype != bool:
        raise TypeError(f"missing must be booleans, True in a gap, got {missing.dtype}.")
    if not _tree.is_concrete((values, missing)):
        return dataclasses.replace(columns, values=values, missing=missing)
    for j, strings in enumerate(columns.categories):
        numbers = np.asarray(values)[..., j][~np.asarray(missing)[..., j]].astype(np.float64)
        if strings is not None and not np.isin(numbers, np.arange(len(strings))).all():
            raise ValueError(
                f"values of the column of text {columns.names[j]!r} must be numbers of its "
                f"{len(strings)} categories, from 0, got {numbers.min():g} to {numbers.max():g}."
            )
    return dataclasses.replace(columns, values=values, missing=missing)


def check_names(names: Any, categories: Any) -> None:
    """Check the names of columns, and that each has an entry in `categories`."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a tuple of strings, got {_check.describe(names)}.")
    if not isinstance(categories, tuple) or not all(
        c is None or (isinstance(c, tuple) and all(isinstance(string, str) for string in c))
        for c in categories
    ):
        raise TypeError(
            "categories must be a tuple with None or a tuple of strings for each column, got "
            f"{_check.describe(categories)}."
        )
    if len(categories) != len(names):
        raise ValueError(
            f"categories must have one entry for each of the {len(names)} columns, got {len(categories)}."
        )

"""Data: arrays, rows, weights and labels."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def features(fitted: int, x: Any) -> None:
    """Features as many as a scaler was fitted on."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != fitted:
        raise ValueError(
            f"this Scaler was fitted on {fitted} features; got an array of shape {shape}. Pass the same "
            "columns in the same order, [..., features]."
        )


def not_a_list(name: str, value: Any) -> None:
    """No Python list of numbers or of rows: it would be a pytree of as many scalars."""
    if isinstance(value, list) and value and (isinstance(value[0], list) or np.isscalar(value[0])):
        raise TypeError(
            f"{name} is a Python list, and arrays are wanted: {name.split('[')[0]} = np.asarray(...)."
        )


def class_numbers(labels: Any, classes: int) -> None:
    """Integers, and where they can be read, in 0 .. classes-1."""
    values = labels if isinstance(labels, jax.core.Tracer) else np.asarray(labels)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(
            f"labels are class numbers; got {values.dtype}. "
            "For text: names, y = np.unique(labels, return_inverse=True)."
        )
    if isinstance(values, np.ndarray) and values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"labels run from 0 to {classes - 1} for {classes} classes; "
            f"got {values.min()} to {values.max()}."
        )


def numeric(name: str, value: Any) -> None:
    """An array of numbers or booleans."""
    kind = getattr(value, "dtype", None)
    kind = np.asarray(value).dtype if kind is None or str(kind) in ("category", "str") else kind
    if isinstance(kind, np.dtype) and kind.kind == "c":
        raise TypeError(
            f"{name} holds complex numbers, and real ones are wanted: np.abs(x), x.real, x.imag."
        )
    if isinstance(kind, np.dtype) and kind.kind in "OUSMm":
        raise TypeError(
            f"{name} holds {'text' if kind.kind in 'US' else kind}, and arrays of numbers are wanted. "
            "For text labels: classes, y = np.unique(labels, return_inverse=True)."
        )
    narrow = jnp.asarray(0).dtype.itemsize == 4  # unless jax_enable_x64 is set
    if narrow and isinstance(value, np.ndarray) and kind.itemsize > 4 and kind.kind in "iu":
        limits = np.iinfo(np.int32)
        if value.size and (value.min() < limits.min or value.max() > limits.max):
            raise ValueError(
                f"{name} holds whole numbers up to {value.max()}, and JAX keeps 32 bits. As features make "
                "them floating: x.astype(float); as labels number them from 0."
            )


def finite(name: str, values: Any) -> None:
    """Concrete floating values without a NaN or an infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise ValueError(
            f"{name} holds {values[place]} at {list(place)}; {rows} of {len(bad)} rows hold a NaN or "
            "an infinity. Drop those rows or fill them in: keep = np.isfinite(x).all(axis=1)."
        )


def weight_type(value: Any) -> None:
    """Numbers, and no word or dictionary for them."""
    if isinstance(value, str | Mapping):
        raise TypeError(
            f"weight is one number for each row; got {value!r}. By class: "
            f"weight=fn.data.class_weights(y, {value!r})."
        )


def weights(values: np.ndarray) -> None:
    """Concrete weights: finite, none negative, not all zero."""
    finite("weight", values)
    if (values < 0).any():
        row = int(np.argwhere(values < 0)[0][0])
        raise ValueError(f"a weight is at least 0; row {row} holds {values[row]}.")
    if not values.any():
        raise ValueError("all weights are zero, so no row counts. Give at least one row a weight.")


def row_dtype(rows: Any) -> None:
    """Whole numbers, no mask and no fractions."""
    dtype = np.asarray(rows).dtype if not hasattr(rows, "dtype") else rows.dtype
    if not jnp.issubdtype(dtype, jnp.integer) and np.size(rows):
        raise TypeError(f"row numbers are whole numbers; got {dtype}. For a mask: np.flatnonzero(mask).")


def row_numbers(rows: Any, n: int) -> None:
    """Concrete row numbers in 0 .. n-1, at least one."""
    values = np.asarray(rows)
    if values.size == 0:
        raise ValueError("the table is empty: a view has at least one row; got 0.")
    if values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"row numbers run from 0 to {n - 1}; got {int(values.min())} to {int(values.max())}."
        )


def rows(what: str, *arrays: Any) -> int:
    """Arrays with as many rows each, at least one; returns how many."""
    shapes = [jnp.shape(a) for a in arrays]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or not shapes or not shapes[0] or shapes[0][0] == 0:
        raise ValueError(f"{what} wants arrays with one row for each example; got shapes {shapes}.")
    return shapes[0][0]

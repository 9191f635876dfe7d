"""Data: arrays, rows, weights and labels."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def features(num_features: int, x: Any) -> None:
    """Check that x has the number of features that a scaler was fitted on."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != num_features:
        raise ValueError(
            f"this Scaler was fitted on {num_features} features, got an array of shape {shape}. Pass the "
            "same columns in the same order, [..., features]."
        )


def class_numbers(labels: Any, classes: int) -> None:
    """Check that an array of labels holds integers and, if concrete, that they lie in 0 .. classes-1."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels must be class numbers, got {labels.dtype}. "
            "For text: names, y = np.unique(labels, return_inverse=True)."
        )
    if isinstance(labels, jax.core.Tracer):
        return
    values = np.asarray(labels)
    if values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"labels must be from 0 to {classes - 1} for {classes} classes, "
            f"got {values.min()} to {values.max()}."
        )


def fits_int32(name: str, value: Any, advice: str = "Number from 0.") -> None:
    """Check that NumPy's integers fit in JAX's, which keep the last 32 bits: 2**32 + 3 would be 3."""
    if not isinstance(value, np.ndarray | np.integer) or value.dtype.kind not in "iu" or not value.size:
        return
    limits = np.iinfo(jax.dtypes.canonicalize_dtype(np.int64))  # 64 bits if jax_enable_x64 is set
    for extreme in (value.min(), value.max()):
        if not limits.min <= int(extreme) <= limits.max:
            raise ValueError(f"{name} must fit in {limits.bits}-bit integers, got {extreme}. {advice}")


def finite(name: str, values: Any) -> None:
    """Check that concrete values hold no NaN and no infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        num_rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise ValueError(
            f"{name} must be finite, got {values[place]} at {list(place)}; {num_rows} of {len(bad)} rows "
            "hold a NaN or an infinity. Drop those rows or fill them in: keep = np.isfinite(x).all(axis=1)."
        )


def weight_type(value: Any) -> None:
    """Check that weights are not a string or a dictionary."""
    if isinstance(value, str | Mapping):
        raise TypeError(
            f"weight must be one number for each row, got {value!r}. By class: "
            f"weight=fn.data.class_weights(y, {value!r})."
        )


def weights(values: np.ndarray) -> None:
    """Check that concrete weights are finite, not negative and not all zero."""
    finite("weight", values)
    if (values < 0).any():
        row = int(np.argwhere(values < 0)[0][0])
        raise ValueError(f"weight must be at least 0, got {values[row]} in row {row}.")
    if not values.any():
        raise ValueError("all weights are zero, so no row counts. Give at least one row a weight above 0.")


def weights_in_range(values: Any) -> None:
    """Check that float32 holds the positive weights, of which one that became 0 would remove its row, and
    their sum."""
    values, limits = np.asarray(values).astype(np.float64), jnp.finfo(jnp.result_type(float))
    is_lost = (values > 0) & (values < float(limits.tiny))
    if is_lost.any():
        row = int(np.argwhere(is_lost)[0][0])
        raise ValueError(
            f"weight must be 0 or at least {float(limits.tiny):.1e}, so that {limits.dtype} holds it, got "
            f"{values[row]} in row {row}. Only ratios of weights matter: try weight / weight.max()."
        )
    if values.sum() > float(limits.max) and np.isfinite(values).all():
        raise ValueError(
            f"weight must add up to at most {float(limits.max):.1e}, so that {limits.dtype} holds the sum, "
            f"got {values.sum():.3g}. Only ratios of weights matter: try weight / weight.max()."
        )


def row_dtype(rows: Any) -> None:
    """Check that row numbers are integers, not a mask or fractions."""
    if not jnp.issubdtype(rows.dtype, jnp.integer) and np.size(rows):
        raise TypeError(
            f"row numbers must be integers, got {rows.dtype}. For a mask: np.flatnonzero(mask)."
        )


def row_numbers(rows: Any, n: int) -> None:
    """Check that concrete row numbers lie in 0 .. n-1 and that there is at least one."""
    values = np.asarray(rows)  # before they are made int32
    if values.size == 0:
        raise ValueError("the table is empty: a view must have at least one row, got 0.")
    if values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"row numbers must be from 0 to {n - 1}, got {int(values.min())} to {int(values.max())}."
        )


def num_rows(what: str, *arrays: Any, names: str = "arrays") -> int:
    """Return the number of rows, and check that it is the same for all arrays and at least 1."""
    shapes = [jnp.shape(a) for a in arrays]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or not shapes or not shapes[0] or shapes[0][0] == 0:
        raise ValueError(f"{what} expects {names} with one row for each example, got shapes {shapes}.")
    return shapes[0][0]

"""Narrowing to float32: what it can't hold, or would merge, is refused by name and with its count."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SAMPLE = 2**17
"""Entries of an array that decide whether a column is counted as a whole: sorting all of it is slow."""
TINY = float(np.finfo(np.float32).tiny)


def keeps_digits(name: str, values: Any, columns: Sequence[str] = (), advice: str = "") -> None:
    """Check that at most 1 % of the distinct values of a column become equal when narrowed to float32.

    Only columns that float64 holds and float32 can't are refused: half of their distinct values lie within
    1/128 of their size, such as times in seconds since 1970, or all of them are tiny. A dense column, such
    as a million normal numbers, has more values than float32 has in that range, and loses nothing by it.

    Args:
        name: of the array, for the message.
        values: any array; only NumPy's float64 is narrowed, and only without jax_enable_x64. Finite.
        columns: the name of each entry of the last axis.
        advice: the last sentence of the message.

    Raises:
        ValueError: with the column, its number of distinct values, and how many of them remain.
    """
    if not is_narrowed(values) or values.size == 0:
        return
    for j in _suspects(values):
        column = values if values.ndim == 1 else values[..., j]
        distinct, kept = _count_distinct(column)
        if distinct - kept > 0.01 * distinct:
            what = (
                name
                if values.ndim == 1
                else f"column {columns[j]!r}"
                if columns
                else f"column {j} of {name}"
            )
            raise ValueError(
                f"{what} has {distinct:,} different values, such as {float(column.flat[0])!r}, of which "
                f"float32 keeps {kept:,}. "
                + (
                    advice
                    or "Scale it in float64 first: x = fn.data.Scaler.fit(x).transform(x), or at least "
                    "subtract the mean: x - x.mean(axis=0)."
                )
            )


def fits_float32(name: str, values: Any) -> None:
    """Check that no finite float64 is too large for float32.

    Raises:
        ValueError: with the value and its place.
    """
    if not is_narrowed(values) or np.abs(values).max(initial=0) <= np.finfo(np.float32).max:
        return
    too_large = np.isfinite(values) & (np.abs(values) > np.finfo(np.float32).max)
    if too_large.any():
        place = tuple(int(i) for i in np.argwhere(too_large)[0])
        raise ValueError(
            f"{name} must fit in float32, at most 3.4e+38 in size, got {float(values[place])!r}"
            f"{f' at {list(place)}' if place else ''}. Change its unit, or scale it in float64 first: "
            "x = fn.data.Scaler.fit(x).transform(x)."
        )


def is_narrowed(values: Any) -> bool:
    """Whether JAX would make these values float32: float64 of NumPy's, without jax_enable_x64."""
    return (
        isinstance(values, np.ndarray)
        and values.dtype == np.float64
        and bool(jax.dtypes.canonicalize_dtype(np.float64) != np.float64)
    )


def to_float64(name: str, values: Any) -> np.ndarray:
    """A concrete array as float64, and a check that integers keep their digits.

    Raises:
        ValueError: if integers beyond 2**53 would become equal.
    """
    array = np.asarray(values)
    floats = array.astype(np.float64)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and (np.abs(floats) > 2.0**53).any():
        rows = array.reshape(-1, array.shape[-1] if array.ndim > 1 else 1)
        for j, column in enumerate(rows.T):
            distinct = len(np.unique(column))
            kept = len(np.unique(column.astype(np.float64)))
            if distinct - kept > 0.01 * distinct:
                what = f"column {j} of {name}" if array.ndim > 1 else name
                raise ValueError(
                    f"{what} has {distinct:,} different integers, such as {column[0]}, of which float64 "
                    f"keeps {kept:,}. Subtract the smallest first: x - x.min(axis=0)."
                )
    return floats


def to_float32(name: str, values: np.ndarray) -> jax.Array:
    """A float64 array of the host as JAX's floats, float32 without jax_enable_x64.

    Raises:
        ValueError: if a value does not fit.
    """
    fits_float32(name, values)
    return jnp.asarray(values, float)


def _suspects(values: np.ndarray) -> Iterator[int]:
    """The columns whose values, in a sample of rows, are too close together for their size."""
    width = values.shape[-1] if values.ndim > 1 else 1
    count = min(len(values), max(16, SAMPLE * len(values) // values.size))
    rows = values if count == len(values) else values[np.linspace(0, len(values) - 1, count, dtype=int)]
    sample = rows.reshape(-1, width)
    if count == len(values):
        ordered = np.sort(sample, axis=0)
        narrow = _flush(ordered.astype(np.float32))
        is_suspect = (np.diff(ordered, axis=0) > 0).sum(axis=0) > (np.diff(narrow, axis=0) > 0).sum(axis=0)
    else:  # most tables hold decimals and small integers: columns that float32 holds exactly are done with
        is_suspect = (sample != sample.astype(np.float32)).any(axis=0)
    for j in np.flatnonzero(is_suspect):
        distinct = np.unique(sample[:, j])
        if len(distinct) < 2:
            continue
        half = 1 if len(distinct) == 2 else max(2, len(distinct) // 2)
        low, high = distinct[:-half], distinct[half:]
        narrowest = np.argmin(high - low)
        size = max(-low[narrowest], high[narrowest])
        if high[narrowest] - low[narrowest] < size / 128 or max(-distinct[0], distinct[-1]) < 1e8 * TINY:
            yield int(j)


def _flush(narrow: np.ndarray) -> np.ndarray:
    """Zeros in place of numbers below the smallest normal one, as XLA treats them."""
    narrow[np.abs(narrow) < TINY] = 0
    return narrow


def _count_distinct(column: np.ndarray) -> tuple[int, int]:
    """The number of distinct values in float64, apart from rounding errors, and in float32."""
    values = np.unique(column)
    rounding = 8 * np.finfo(np.float64).eps * np.abs(values[1:])
    narrow = _flush(values.astype(np.float32))
    return 1 + int(np.sum(np.diff(values) > rounding)), 1 + int(np.count_nonzero(np.diff(narrow)))

"""Labels: the class or the group of each row, numbers or text."""

from typing import Any

import jax
import numpy as np

from funcnet._check._values import describe


def labels(name: str, values: Any, n: int | None = None) -> np.ndarray:
    """One label for each row as a NumPy array that keeps all digits: numbers, booleans or text.

    Args:
        name: of the argument.
        values: an array, a list, a column of pandas or polars, a tensor on the CPU.
        n: the number of rows; any number but 0 if None.

    Raises:
        TypeError: if they are traced, or not of one kind, such as numbers and text.
        ValueError: if there are not n of them, or one is missing.
    """
    if isinstance(values, jax.core.Tracer):
        raise TypeError(
            f"{name} must not be traced by jit, vmap or grad, got a tracer: labels are counted on the "
            "host. Call it outside of them."
        )
    if values is None or isinstance(values, str | bytes | dict | set) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} must hold one label for each row, [n], got {describe(values)}.")
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} must have a label in each row, got a masked array: fill it in.")
    if isinstance(values, list | tuple) and len({isinstance(value, str) for value in values}) > 1:
        raise TypeError(f"{name} must be all numbers or all text, got {describe(list(values))}.")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        raise TypeError(f"{name} must hold one label for each row, [n], got {describe(values)}.") from None
    if array.ndim != 1 or len(array) == 0 or (n is not None and len(array) != n):
        rows = "row" if n is None else f"of the {n} rows"
        raise ValueError(f"{name} must hold one label for each {rows}, [n], got shape {array.shape}.")
    if array.dtype.kind == "O":  # pandas.NA is neither equal to itself nor different
        is_missing = np.array([v is None or type(v).__name__ == "NAType" or bool(v != v) for v in array])
    elif array.dtype.kind in "mM":
        is_missing = np.isnat(array)
    else:
        is_missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    if is_missing.any():
        row = int(np.flatnonzero(is_missing)[0])
        raise ValueError(f"{name} must have a label in each row, got {array[row]!r} in row {row}.")
    if array.dtype.kind == "O":
        array = _of_one_kind(name, array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _of_one_kind(name: str, array: np.ndarray) -> np.ndarray:
    try:
        np.unique(array)
    except TypeError:
        raise TypeError(
            f"{name} must be all numbers or all text, got {describe(array[:10].tolist())}."
        ) from None
    return array

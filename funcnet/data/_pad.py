"""Sequences of unequal lengths as one array."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check


@_check.usage("fn.data.pad(arrays, length=24): it pads at the ends, and a[:24] cuts longer sequences")
def pad(
    arrays: Iterable[Any], *, length: int | None = None, value: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of unequal lengths as one array, filled up at their ends, and their lengths.

    Args:
        arrays: n sequences, arrays [time, ...] that differ in `time` only; or lists of numbers.
        length: the length to fill up to; that of the longest sequence if None.
        value: what the ends are filled with.

    Returns:
        The pair (array [n, length, ...] of the sequences' dtype, lengths [n] int32). Recurrent layers take
        the lengths: `layer(x, length=lengths)`.

    Raises:
        TypeError: if `arrays` is not a sequence of arrays of numbers, is traced, or has dtypes that NumPy
            does not combine (bfloat16 and int32), or `value` is not a number.
        ValueError: if there is no sequence, one is empty, they differ in another axis, one is longer than
            `length`, or their dtype can't hold `value`.

    Example:
        >>> import funcnet as fn
        >>> tokens, lengths = fn.data.pad([[5, 2, 7], [4]], value=-1)
        >>> tokens.tolist(), lengths.tolist()
        ([[5, 2, 7], [4, -1, -1]], [3, 1])
    """
    if isinstance(arrays, str | bytes | dict) or not isinstance(arrays, Iterable):
        raise TypeError(
            f"arrays must be a list of arrays, got {_check.describe(arrays)}. Try "
            "fn.data.pad([[1, 2], [3]])."
        )
    arrays = list(arrays)
    _check.concrete("fn.data.pad", arrays)
    parts = [np.asarray(_check.array(f"arrays[{i}]", part)) for i, part in enumerate(arrays)]
    if not parts:
        raise ValueError("arrays must hold at least one sequence, got none.")
    for i, part in enumerate(parts):
        if part.ndim == 0 or len(part) == 0 or part.shape[1:] != parts[0].shape[1:]:
            axes = ", ".join(["time", *map(str, parts[0].shape[1:])])
            raise ValueError(
                f"arrays[{i}] must have shape [{axes}] with at least one step, as arrays[0], got "
                f"{part.shape}."
            )
    lengths = np.array([len(part) for part in parts], np.int32)
    longest = int(lengths.argmax())
    length = int(lengths[longest]) if length is None else _check.positive("length", length)
    if length < lengths[longest]:
        raise ValueError(
            f"length must be at least {lengths[longest]}, that of arrays[{longest}], got {length}. To cut "
            f"longer sequences: [a[:{length}] for a in arrays]."
        )
    dtype = _common_dtype(parts)
    shape = (len(parts), length, *parts[0].shape[1:])
    _check.fits_in_memory(f"{len(parts)} sequences of length={length}", dtype.itemsize * math.prod(shape))
    padded = np.full(shape, _fill(value, dtype))
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return padded, lengths


def _common_dtype(parts: Sequence[np.ndarray]) -> np.dtype:
    try:
        return np.result_type(*parts)
    except TypeError:
        names = " and ".join(sorted({part.dtype.name for part in parts}))
        raise TypeError(
            f"arrays must have dtypes that NumPy combines, got {names}. Convert the sequences: "
            "[np.asarray(a, np.float32) for a in arrays]."
        ) from None


def _fill(value: Any, dtype: np.dtype) -> np.ndarray:
    """`value` in the dtype of the sequences, after a check that it stays what it is."""
    number = _check.between("value", value, -math.inf, math.inf)
    with np.errstate(all="ignore"):
        fill = np.asarray(number, float).astype(dtype)
    if not np.isfinite(fill) or (not jnp.issubdtype(dtype, jnp.floating) and fill != number):
        raise ValueError(
            f"value must be a number that {dtype.name} can hold, got {value}. Convert the sequences: "
            "[np.asarray(a, np.float32) for a in arrays]."
        )
    return fill

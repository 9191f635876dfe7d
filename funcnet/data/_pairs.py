"""Pairs (x, y) of named columns of numbers, for streams from files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _check


def check_names(features: Any, target: Any) -> None:
    """Check the names of columns.

    Raises:
        TypeError: if they are not a list of names, and a name.
        ValueError: if there are no features, one twice, or the target is among them.
    """
    for name in (target, *(features if isinstance(features, list | tuple) else [None])):
        if not isinstance(name, str):
            raise TypeError(
                "features must be a list of names of columns and target a name, got "
                f"features={_check.describe(features)} and target={_check.describe(target)}."
            )
    if not features or target in features or len(set(features)) < len(features):
        raise ValueError(
            f"features must be names of columns other than the target, each once, got {features!r}."
        )


def to_pair(
    path: Path,
    columns: Mapping[str, np.ndarray],
    features: Sequence[str],
    target: str,
    *,
    is_first: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [rows, features] and a target [rows]: float32, or int32 for integers.

    Args:
        path: of the file, for errors.
        columns: numbers by name, [rows] each.
        features: names of the features.
        target: name of the target.
        is_first: whether digits that float32 can't hold are looked for. A look at some rows is enough:
            columns differ, and not parts of the rows.

    Raises:
        ValueError: if a number does not fit into float32 or int32.
    """
    wide = np.stack([columns[name] for name in features], axis=1).astype(np.float64)
    y = columns[target]
    _check.fits_float32(f"{path}: the features", wide)
    _check.fits_float32(f"{path}: the column {target!r}", y)
    _check.fits_int32(f"{path}: the column {target!r}", y)
    if is_first:
        _check.keeps_digits("x", wide, features)
        _check.keeps_digits(f"the column {target!r}", y)
    return wide.astype(np.float32), y.astype(np.float32 if y.dtype.kind == "f" else np.int32)

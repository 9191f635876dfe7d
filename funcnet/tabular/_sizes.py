"""A coarse grid of sizes, so that tables of about the same size share one program."""

import numpy as np


def round_up(size: int, smallest: int = 1) -> int:
    """The smallest of 0, 2^k and 3·2^k that is not below `size`, and at least `smallest` unless it is 0."""
    if size == 0:
        return 0
    size = max(size, smallest)
    power = 1 << (size - 1).bit_length()
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= size else power


def pad(array: np.ndarray, *shape: int) -> np.ndarray:
    """The array with zeros behind its entries along the first axes, up to a shape."""
    width = [(0, size - old) for size, old in zip(shape, array.shape, strict=False)]
    return np.pad(array, width + [(0, 0)] * (array.ndim - len(width)))

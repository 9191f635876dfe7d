"""Equal rows as one row of their summed weight, in an order that depends on their values alone."""

from collections.abc import Callable, Iterator

import numpy as np

from funcnet.tabular._features import Features


def merge_equal_rows(
    features: Features, target: np.ndarray, weight: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find rows that have the same features, target and group.

    With it a weight of 2 and a repeated row are the same input, and the order of the rows has no effect.

    Args:
        features: [rows].
        target: [rows] or [rows, outputs].
        weight: [rows], float64.
        group: integers [rows]: rows of different groups are not merged.

    Returns:
        The first row of each set of equal rows, int [sets]; the sum of their weights, [sets]; and the set
        of each row, int [rows].
    """
    columns = _columns(features, target, group)
    key = np.zeros(len(group), np.uint64)
    for column in columns():  # sorting one number a row is much faster than sorting rows
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, row_set = np.unique(key, return_index=True, return_inverse=True)
    if not all((column[first][row_set] == column).all() for column in columns()):  # a key of different rows
        rows = np.stack(list(columns()), axis=1)
        _, first, row_set = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(row_set, weights=weight, minlength=len(first)), row_set


def _columns(
    features: Features, target: np.ndarray, group: np.ndarray
) -> Callable[[], Iterator[np.ndarray]]:
    """A function that iterates over all columns as bits, one at a time: a table may be large."""

    def iterate() -> Iterator[np.ndarray]:
        for part in (features.numbers, features.codes, target.reshape(len(target), -1), group[:, None]):
            for column in part.T:
                values = np.array(column, np.float64)
                values[np.isnan(values)] = np.nan  # one NaN, one zero
                yield (values + 0.0).view(np.uint64)

    return iterate

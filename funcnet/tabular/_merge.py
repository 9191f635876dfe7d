"""Equal rows as one row of their summed weight, in an order that depends on their values alone."""

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
    columns = [features.numbers, features.codes, target.reshape(len(target), -1), group[:, None]]
    table = np.concatenate([np.asarray(column, np.float64) for column in columns], axis=1)
    table = np.where(np.isnan(table), np.nan, table) + 0.0  # one NaN, one zero
    bits = np.ascontiguousarray(table).view(np.uint64)
    key = np.zeros(len(bits), np.uint64)
    for column in bits.T:  # sorting one number a row is much faster than sorting rows
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, row_set = np.unique(key, return_index=True, return_inverse=True)
    if not (bits[first][row_set] == bits).all():  # two different rows have the same key
        _, first, row_set = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    return first, np.bincount(row_set, weights=weight, minlength=len(first)), row_set

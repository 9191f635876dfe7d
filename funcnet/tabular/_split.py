"""Which rows of a table are held out for testing."""

import numpy as np

from funcnet.data import Table
from funcnet.data._split import divide

TEST_SIZE = 0.2


def split_table(table: Table, fraction: float | None, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row numbers of a table in two parts, the second of them held out.

    Args:
        table: a table; its classes are stratified.
        fraction: of the rows that are held out, in (0, 1). If None, the table's standard split, or 0.2.
        order: the row numbers in random order.

    Returns:
        Sorted row numbers of the two parts. A class of which no row is in the first is left there whole.

    Raises:
        ValueError: if there are too few rows.
    """
    if fraction is None and table.standard_split:
        first = table.standard_split[0]
        return np.arange(first), np.arange(first, len(table))
    fraction = TEST_SIZE if fraction is None else fraction
    classes = class_numbers(table)
    used, held_out = divide(order, (round(1 - fraction, 12), fraction), classes)
    if classes is not None:
        is_new = ~np.isin(classes[held_out], classes[used])
        used, held_out = np.concatenate([used, held_out[is_new]]), held_out[~is_new]
    return np.sort(used), np.sort(held_out)


def class_numbers(table: Table) -> np.ndarray | None:
    """The class number of each row, by which splits are stratified; None for a regression."""
    return np.asarray(table.arrays[:][1]) if table.class_names else None

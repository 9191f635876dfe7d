"""What is doubtful about a table and what was trained on it, in sentences that say what to do."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.tabular import Features, Schema

MAX_ROWS = 10_000
"""Rows in which a column is compared with the target."""
RARE, MOST, ALONE = 0.05, 0.25, 0.999
"""A class with fewer of the rows is rare; a row with more of the loss, and a column that alone predicts the
target this well, are told."""
MAX_GROUPS = 64
"""A column with more different values is compared by its order."""


def find_warnings(
    schema: Schema,
    features: Features,
    target: np.ndarray,
    names: Sequence[str],
    losses: np.ndarray | None,
    numbers: np.ndarray | None = None,
) -> list[str]:
    """Sentences about a table of classes or numbers.

    Args:
        schema: how its columns are read.
        features: of the training rows.
        target: class numbers [rows], or numbers [rows] or [rows, outputs].
        names: of the classes; empty for numbers.
        losses: of each training row by the networks that were not trained on it, [rows], NaN where there
            are none; or None.
        numbers: of the rows, by which they are named; from 0 if None.
    """
    found = []
    if names:
        counts = np.bincount(target, minlength=len(names))
        found += _rare_classes(counts, names)
    elif np.ptp(target, axis=0).min() == 0:
        found.append("the target has the same value in all rows: there is nothing to learn.")
    if names or target.ndim == 1:
        found += _leaks(schema, features, target, names)
    if losses is not None:
        found += _outliers(losses, np.arange(len(losses)) if numbers is None else numbers)
    return found


def first_is_best(best_epoch: np.ndarray, epochs: int) -> list[str]:
    """A sentence if most networks are best after their first epoch.

    Args:
        best_epoch: of each network, counted from 0.
        epochs: that were run.
    """
    count = int((best_epoch == 0).sum())
    if epochs == 1 or 2 * count <= len(best_epoch):
        return []
    return [
        f"{count} of {len(best_epoch)} networks are best after the first of {epochs} epochs: what they "
        "learn later does not hold for other rows. Do the columns tell anything about the target? If they "
        "do, try a smaller learning_rate_init."
    ]


def _rare_classes(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    found = []
    single = [names[int(i)] for i in np.flatnonzero(counts == 1)]
    if single:
        what = "class " + ", ".join(map(repr, single[:3])) + (" and others" if len(single) > 3 else "")
        found.append(f"{what} has one row, which can't be trained on and held out. Merge rare classes.")
    rarest = int(counts.argmin())
    if len(single) < len(counts) and counts[rarest] < RARE * counts.sum():
        share = counts[rarest] / counts.sum()
        found.append(
            f"class {names[rarest]!r} has {share:.1%} of the rows: compare balanced accuracy and recall "
            "with those of the best constant, and try class_weight='balanced' if rare classes matter more."
        )
    return found


def _leaks(schema: Schema, features: Features, target: np.ndarray, names: Sequence[str]) -> list[str]:
    """Columns that predict the target alone: often they are made from it, and unknown for new rows."""
    step = -(-len(target) // MAX_ROWS)
    rows, y = features.rows(np.arange(0, len(target), step)), target[::step]
    if len(y) < 20:
        return []
    columns = [*zip(schema.number_names, rows.numbers.T, strict=True)]
    columns += [*zip(schema.category_names, rows.codes.T.astype(float), strict=True)]
    found = []
    for name, column in columns:
        known = ~np.isnan(column)
        if known.mean() > 0.9 and _predicts(column[known], y[known], bool(names)):
            found.append(
                f"column {name!r} alone predicts the target nearly perfectly. If it is not known for new "
                "rows, leave it out."
            )
    return found


def _predicts(column: np.ndarray, target: np.ndarray, is_class: bool) -> bool:
    """Whether a column alone, by its groups or by its order, gives nearly the whole target."""
    values, groups, count = np.unique(column, return_inverse=True, return_counts=True)
    if len(values) > MAX_GROUPS:
        if is_class:  # along the column, classes change hardly more often than they must
            majority, wrong = _majorities(groups, target)
            changes = np.count_nonzero(np.diff(majority))
            return bool(wrong + changes <= len(np.unique(target)) - 1 + (1 - ALONE) * len(target))
        ranks = (np.argsort(np.argsort(a, kind="stable"), kind="stable") for a in (column, target))
        return max(abs(_correlation(column, target)), abs(_correlation(*ranks))) > ALONE
    if len(values) < 2 or 3 * len(values) > len(column):
        return False
    if is_class:
        table = np.zeros((len(values), target.max() + 1))
        np.add.at(table, (groups, target), 1)
        most = np.bincount(target).max() / len(target)
        return bool(table.max(axis=1).sum() / len(target) > ALONE and most < 0.95)
    mean = np.bincount(groups, target) / count
    return bool(((target - mean[groups]) ** 2).mean() < (1 - ALONE) * target.var())


def _majorities(groups: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, int]:
    """The most frequent class of each group, and the number of rows of other classes."""
    classes = int(target.max()) + 1
    pairs, counts = np.unique(groups * classes + target, return_counts=True)
    order = np.lexsort((counts, pairs // classes))
    group = (pairs // classes)[order]
    last = np.append(group[1:] != group[:-1], True)
    return (pairs % classes)[order][last], int(len(target) - counts[order][last].sum())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - np.mean(a), b - np.mean(b)
    scale = np.sqrt((a**2).sum()) * np.sqrt((b**2).sum())
    return float((a * b).sum() / scale) if 0 < scale < np.inf else 0.0


def _outliers(losses: np.ndarray, numbers: np.ndarray) -> list[str]:
    known = np.flatnonzero(~np.isnan(losses))
    total = losses[known].sum()
    if len(known) < 50 or not total > 0:
        return []
    worst: Any = known[losses[known].argmax()]
    share = losses[worst] / total
    if share < MOST:
        return []
    return [
        f"training row {numbers[worst]} (counted from 0) holds {share:.0%} of the held-out loss: check its "
        "target."
    ]

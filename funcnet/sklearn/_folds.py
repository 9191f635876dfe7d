"""Folds: which rows each run is trained on, and which it holds out."""

from typing import Any

import numpy as np

from funcnet import _check

AUTO_FOLDS = 5
MIN_ROWS = 10
"""Fewer rows are not split by default: a fold would hold out a single row."""
MAX_ROWS = 100_000
"""More rows get one split by default. With 30 columns, five folds of 100,000 take 76 s of one core and one
split 18 s; both grow in proportion to the rows."""
MAX_CELLS = 10_000_000
"""Rows times columns above which there is one split, too."""

Splits = list[tuple[np.ndarray, np.ndarray]]


def is_explicit(cv: Any) -> bool:
    """Whether a `cv` gives its splits as row numbers."""
    return not (cv is None or isinstance(cv, int | np.integer | str) or hasattr(cv, "split"))


def make_folds(cv: Any, X: Any, y: np.ndarray, classes: np.ndarray | None, seed: int) -> Splits | None:
    """Pairs (training rows, held-out rows), or None for no folds.

    Args:
        cv: "auto", an integer, a splitter of scikit-learn, an iterable of pairs of row numbers, or None.
        X: [rows, columns], passed to a splitter.
        y: the target, passed to a splitter.
        classes: class numbers by which folds are stratified; None for no strata.
        seed: of the assignment of rows to folds.

    Raises:
        TypeError: if `cv` is something else.
        ValueError: if there are more folds than rows, a pair does not name rows or holds out some that it
            trains on, or a splitter fails.
    """
    rows = len(y)
    if isinstance(cv, str) and cv == "auto":
        is_large = rows > MAX_ROWS or rows * np.shape(X)[-1] > MAX_CELLS
        cv = None if rows < MIN_ROWS or is_large else AUTO_FOLDS
    if cv is None:
        return None
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        if not 2 <= cv <= rows:
            raise ValueError(f"cv must be at least 2 and at most the {rows} rows, got {cv}. Try cv=5.")
        return _assign(int(cv), rows, classes, seed)
    if isinstance(cv, str | bool) or not (hasattr(cv, "split") or hasattr(cv, "__iter__")):
        raise TypeError(
            "cv must be 'auto', an integer, a splitter of scikit-learn, an iterable of (training rows, "
            f"held-out rows), or None, got {_check.describe(cv)}. Try cv=5."
        )
    return _check_splits([_row_numbers(pair, rows) for pair in _pairs(cv, X, y)])


def _assign(folds: int, rows: int, classes: np.ndarray | None, seed: int) -> Splits:
    """Each row in one fold, at random; of each class as many in each fold as can be."""
    order = np.random.default_rng(seed).permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(rows, int)
    fold[order] = np.arange(rows) % folds
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]


def _pairs(cv: Any, X: Any, y: np.ndarray) -> list[Any]:
    """The pairs of an iterable, or of a splitter of scikit-learn."""
    if not hasattr(cv, "split"):
        return list(cv)
    try:
        return list(cv.split(X, y))
    except (TypeError, ValueError) as error:  # few rows of a class, or no groups
        raise ValueError(
            f"cv must split the rows into folds, but {cv} does not: {error} Where it needs groups, try "
            "cv=list(splitter.split(X, y, groups))."
        ) from error


def _row_numbers(pair: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = []
    is_pair = isinstance(pair, list | tuple) or (isinstance(pair, np.ndarray) and pair.ndim == 2)
    for part in pair if is_pair else [pair]:
        part = np.asarray(part)
        if part.dtype == bool and part.shape == (rows,):
            part = np.flatnonzero(part)
        if part.size and part.dtype.kind not in "iu":
            raise TypeError(
                f"cv must give row numbers, or a boolean for each of the {rows} rows, got "
                f"{_check.describe(part)}."
            )
        part = part.astype(int)
        if part.ndim != 1 or (part.size and not (-rows <= part.min() and part.max() < rows)):
            raise ValueError(f"cv must give row numbers below {rows}, got {_check.describe(part)}.")
        numbers.append(part % rows if rows else part)
    if len(numbers) != 2:
        raise ValueError(f"cv must give pairs (training rows, held-out rows), got {len(numbers)} parts.")
    return numbers[0], numbers[1]


def _check_splits(splits: Splits) -> Splits:
    if not splits or any(len(part) == 0 for pair in splits for part in pair):
        raise ValueError(f"cv must give rows to train on and rows to hold out, got {len(splits)} splits.")
    for i, (train, held_out) in enumerate(splits):
        if len(both := np.intersect1d(train, held_out)):
            raise ValueError(
                f"cv must hold out rows that it does not train on, got row {both[0]} as both in split {i}."
            )
    return splits


def held_out_table(splits: Splits, rows: int) -> np.ndarray:
    """Whether each row is held out by each fold: booleans [rows, folds]."""
    table = np.zeros((rows, len(splits)), bool)
    for j, (_, held_out) in enumerate(splits):
        table[held_out, j] = True
    return table


def parts_of_rows(splits: Splits | None, rows: int) -> np.ndarray:
    """A number for each set of folds that a row is trained on and held out by, int [rows]."""
    if splits is None:
        return np.zeros(rows, int)
    trained_on = held_out_table([(b, a) for a, b in splits], rows)
    table = np.concatenate([trained_on, held_out_table(splits, rows)], axis=1)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)

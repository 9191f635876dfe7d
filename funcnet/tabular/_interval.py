"""Prediction intervals from out-of-fold residuals."""

import numpy as np

STEPS = 80
"""Halvings of a bracket: more than float64 has digits."""


def cv_plus(
    predictions: np.ndarray, residuals: np.ndarray, pattern: np.ndarray, coverage: float
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of CV+: quantiles of prediction minus, and plus, the residuals of the training rows.

    For training row i with residual r_i, and m_i(x) the prediction of the runs that were not trained on it,
    the bounds are the ⌊α(n+1)⌋-th smallest m_i(x) - r_i and the ⌈(1-α)(n+1)⌉-th smallest m_i(x) + r_i, with
    α = 1 - coverage. They are infinite if there are too few rows.

    Args:
        predictions: [patterns, points], of the runs that hold out the rows of a pattern.
        residuals: absolute out-of-fold errors of the training rows, [rows].
        pattern: the pattern of each training row, int [rows].
        coverage: in (0, 1).

    Returns:
        Lower and upper bounds, [points].

    Source: Barber, Candès, Ramdas, Tibshirani, "Predictive inference with the jackknife+", 2021.
    """
    count = len(residuals)
    rank = int(np.ceil(coverage * (count + 1) - 1e-9))  # 0.9 · 10 is 9, also in float64
    if rank > count:
        infinity = np.full(predictions.shape[1], np.inf)
        return -infinity, infinity
    upper = _smallest(predictions, residuals, pattern, rank)
    return -_smallest(-predictions, residuals, pattern, rank), upper


def _smallest(predictions: np.ndarray, residuals: np.ndarray, pattern: np.ndarray, rank: int) -> np.ndarray:
    """The `rank`-th smallest prediction + residual at each point, by bisection."""
    groups = [np.sort(residuals[pattern == j]) for j in range(len(predictions))]
    low, high = predictions.min(axis=0) - 1e-300, predictions.max(axis=0) + residuals.max()
    for _ in range(STEPS):
        middle = low + (high - low) / 2
        count = np.zeros(len(middle), int)
        for group, prediction in zip(groups, predictions, strict=True):
            count += np.searchsorted(group, middle - prediction, side="right")
        is_enough = count >= rank
        low, high = np.where(is_enough, low, middle), np.where(is_enough, middle, high)
    return high

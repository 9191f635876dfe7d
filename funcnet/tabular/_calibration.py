"""What the rows held out say: their predictions, and the temperature that calibrates probabilities."""

import numpy as np

from funcnet.tabular._members import probabilities, to_values
from funcnet.tabular._targets import Target
from funcnet.tabular._training import RunRows

MIN_ROWS = 10
"""The temperature of fewer rows would be noise."""


def _held_out(predictions: np.ndarray, rows: RunRows, size: int) -> np.ndarray:
    """The mean prediction of the runs that held out a row, [rows, outputs]; NaN where none did."""
    total, count = np.zeros((size, predictions.shape[-1])), np.zeros(size)
    for run, index, n in zip(predictions, rows.validation, rows.num_validation, strict=True):
        np.add.at(total, index[:n], run[:n])
        np.add.at(count, index[:n], 1)
    with np.errstate(invalid="ignore"):
        return total / np.where(count > 0, count, np.nan)[:, None]


def out_of_fold(
    outputs: np.ndarray,
    rows: RunRows,
    target: Target,
    bounds: np.ndarray,
    size: int,
    temperature: float,
    is_vector: bool,
) -> np.ndarray:
    if target.task != "values":
        return _held_out(probabilities(target.task, outputs, temperature), rows, size)
    values = _held_out(to_values(outputs, target.center, target.scale, bounds), rows, size)
    return values if is_vector else values[:, 0]


def choose_temperature(
    outputs: np.ndarray, rows: RunRows, target: Target, weights: np.ndarray, default: float
) -> tuple[float, str]:
    """What logits are multiplied with before they become probabilities, and where that comes from.

    Args:
        outputs: [runs, rows held out, outputs].
        rows: the row numbers of each run.
        target: of all rows.
        weights: [rows].
        default: what it is if too few rows are held out.
    """
    if len(_rows_held_out(rows)) < MIN_ROWS:
        return default, f"fewer than {MIN_ROWS} rows were held out"
    return _fit_temperature(outputs, rows, target, weights), "of the rows held out"


def _fit_temperature(outputs: np.ndarray, rows: RunRows, target: Target, weights: np.ndarray) -> float:
    """What logits are multiplied with for the lowest loss of the mean probabilities of the rows held out.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    held_out = _rows_held_out(rows)
    weights = weights[held_out]

    def loss(log2_temperature: float) -> float:
        each = probabilities(target.task, outputs, 2.0**log2_temperature)
        p = _held_out(each, rows, len(target.values))[held_out]
        y = target.values[held_out]
        if target.task == "classes":
            likelihood = p[np.arange(len(y)), y][:, None]
        else:
            likelihood = np.where(y > 0.5, p, 1 - p)
        return float(np.average(-np.log(np.maximum(likelihood, 1e-12)).mean(axis=1), weights=weights))

    best, width = 0.0, 3.0
    for _ in range(5):  # a grid of 9 around the best of the last one
        grid = best + width * np.linspace(-1, 1, 9)
        best = float(grid[np.argmin([loss(value) for value in grid])])
        width /= 4
    return 2.0**best


def _rows_held_out(rows: RunRows) -> np.ndarray:
    parts = [r[:n] for r, n in zip(rows.validation, rows.num_validation, strict=True)]
    return np.unique(np.concatenate(parts))

"""Targets as networks are trained on them, and how to return to their units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnet import _check
from funcnet.tabular._losses import TASKS
from funcnet.tabular._members import Members

LARGEST_TARGET = 1e150
"""The largest value of a regression: squares are within float64."""


class Target(NamedTuple):
    """Targets as a network is trained on them, and how to return to their units."""

    task: str
    values: np.ndarray
    center: np.ndarray
    scale: np.ndarray


def check_target(target: Any, task: str, rows: int, num_classes: int | None) -> tuple[np.ndarray, int]:
    """The target as int32 [rows], float32 [rows, labels] or float64 [rows(, outputs)]; and the outputs."""
    if task not in TASKS:
        raise ValueError(f'task must be "classes", "labels" or "values", got {task!r}.')
    values = np.asarray(_check.array("target", target))
    ranks = {"classes": (1,), "labels": (2,), "values": (1, 2)}[task]
    if values.ndim not in ranks or len(values) != rows or 0 in values.shape:
        shapes = " or ".join(("[rows]", "[rows, outputs]")[rank - 1] for rank in ranks)
        raise ValueError(f"target must have shape {shapes} with {rows} rows, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError("target must be finite, got NaN or infinity.")
    if task == "values":
        return values.astype(np.float64), values.shape[1] if values.ndim == 2 else 1
    high = 2 if task == "labels" else num_classes or int(values.max()) + 1
    if ((values != np.floor(values)) | (values < 0) | (values >= high)).any():
        raise ValueError(
            f"target must hold integers 0 .. {high - 1}, got {values.min()} .. {values.max()}."
        )
    if task == "classes":
        return values.astype(np.int32), max(high, 2)
    return values.astype(np.float32), values.shape[1]


def standardize(targets: np.ndarray, weights: np.ndarray, task: str, outputs: int) -> Target:
    """Values with weighted mean 0 and standard deviation 1; others as they are."""
    if task != "values":
        return Target(task, targets, np.zeros(outputs), np.ones(outputs))
    values = targets.reshape(len(targets), outputs)
    center = np.average(values, axis=0, weights=weights)
    unit = np.ldexp(0.5, np.frexp(np.abs(values - center).max(axis=0))[1])  # squares of 1e-200 would be 0
    scale = unit * np.sqrt(np.average(((values - center) / unit) ** 2, axis=0, weights=weights))
    scale = np.where(scale > 0, scale, 1.0)
    values = np.where(weights[:, None] > 0, (values - center) / scale, 0.0)
    return Target(task, values.astype(np.float32), center, scale)


def standardize_as(
    start: Members, targets: np.ndarray, weights: np.ndarray, task: str, outputs: int
) -> Target:
    """Targets on the scale of those that `start` was trained on."""
    if len(start.center) != outputs:
        raise ValueError(f"target must have {len(start.center)} outputs, as before, got {outputs}.")
    if task != "values":
        return standardize(targets, weights, task, outputs)
    values = (targets.reshape(len(targets), outputs) - start.center) / start.scale
    values = np.where(weights[:, None] > 0, values, 0.0).astype(np.float32)
    return Target(task, values, start.center, start.scale)


def target_bounds(
    targets: np.ndarray, target: Target, runs: Sequence[np.ndarray], start: Members | None
) -> np.ndarray:
    """The range [runs, 2, outputs] of the targets of the rows of each run, in standard deviations.

    Those that `start` was trained on count, too.
    """
    if target.task != "values":
        return np.broadcast_to([[-np.inf], [np.inf]], (len(runs), 2, len(target.center)))
    values = (targets.reshape(len(targets), -1) - target.center) / target.scale
    bounds = np.stack([[values[rows].min(axis=0), values[rows].max(axis=0)] for rows in runs])
    if start is None:
        return bounds
    low, high = start.bounds
    return np.stack([np.minimum(bounds[:, 0], low), np.maximum(bounds[:, 1], high)], axis=1)

"""The scores of a table's model, beside those of the best constant prediction."""

from typing import Any

import numpy as np

BINS = 15


def class_scores(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Scores of class probabilities.

    Args:
        probabilities: [rows, classes].
        target: class numbers [rows].
        weight: [rows].

    Returns:
        "accuracy", "balanced_accuracy" and "calibration_error" (15 equal bins of the top probability) in
        0 .. 1, "log_loss" in nats; "auc" of two classes, if both are there; and the first three of
        predicting the class frequencies as "baseline".
    """
    rows, classes = np.arange(len(target)), probabilities.shape[1]
    frequencies = np.bincount(target, weights=weight, minlength=classes) / weight.sum()
    constant = np.broadcast_to(frequencies, probabilities.shape)

    def scores(p: np.ndarray) -> dict[str, float]:
        is_right = p.argmax(axis=1) == target
        recalls = [
            np.average(is_right[target == c], weights=weight[target == c])
            for c in range(classes)
            if weight[target == c].sum() > 0
        ]
        loss = -np.log(np.maximum(p[rows, target], np.finfo(np.float64).tiny))
        return {
            "accuracy": float(np.average(is_right, weights=weight)),
            "balanced_accuracy": float(np.mean(recalls)),
            "log_loss": float(np.average(loss, weights=weight)),
        }

    result: dict[str, Any] = {"rows": len(target), **scores(probabilities)}
    result["calibration_error"] = calibration_error(probabilities, target, weight)
    if classes == 2 and (frequencies > 0).all():
        result["auc"] = _auc(probabilities[:, 1], target, weight)
    return {**result, "baseline": scores(constant)}


def label_scores(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Scores of labels: "accuracy" (all of a row are right), "label_accuracy", "log_loss", "baseline"."""
    constant = np.broadcast_to(np.average(target, axis=0, weights=weight), probabilities.shape)

    def scores(p: np.ndarray) -> dict[str, float]:
        is_right = (p > 0.5) == (target == 1)
        likelihood = np.maximum(np.where(target == 1, p, 1 - p), np.finfo(np.float64).tiny)
        return {
            "accuracy": float(np.average(is_right.all(axis=1), weights=weight)),
            "label_accuracy": float(np.average(is_right.mean(axis=1), weights=weight)),
            "log_loss": float(np.average(-np.log(likelihood).mean(axis=1), weights=weight)),
        }

    return {"rows": len(target), **scores(probabilities), "baseline": scores(constant)}


def value_scores(predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Scores of numbers: "rmse" and "mae" in the target's units, "r2"; of the mean target as "baseline"."""
    mean = np.average(target, axis=0, weights=weight)

    def scores(p: np.ndarray) -> dict[str, float]:
        squared = np.average((p - target) ** 2, axis=0, weights=weight)
        variance = np.average((target - mean) ** 2, axis=0, weights=weight)
        r2 = np.where(variance > 0, 1 - squared / np.where(variance > 0, variance, 1.0), 0.0)
        return {
            "rmse": float(np.sqrt(squared.mean())),
            "mae": float(np.average(np.abs(p - target), axis=0, weights=weight).mean()),
            "r2": float(r2.mean()),
        }

    constant = np.broadcast_to(mean, predictions.shape)
    return {"rows": len(target), **scores(predictions), "baseline": scores(constant)}


def calibration_error(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The expected calibration error of the top probability in 15 equal bins."""
    top = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == target
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = np.bincount(which, weights=weight * (is_right - top), minlength=BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def _auc(score: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The probability that a row of class 1 has a larger score than one of class 0; ties count half."""
    _, place = np.unique(score, return_inverse=True)
    zeros = np.bincount(place, weights=weight * (target == 0))
    ones = np.bincount(place, weights=weight * (target == 1), minlength=len(zeros))
    below = np.cumsum(zeros) - zeros
    pairs = zeros.sum() * ones.sum()
    return float((ones * (below + zeros / 2)).sum() / pairs) if pairs > 0 else float("nan")

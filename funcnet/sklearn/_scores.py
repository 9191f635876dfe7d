"""The scores of a table's model, beside those of the best constant prediction."""

from typing import Any

import numpy as np
from sklearn import metrics

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
    classes = np.arange(probabilities.shape[1])
    frequencies = np.bincount(target, weights=weight, minlength=len(classes)) / weight.sum()
    constant = np.broadcast_to(frequencies, probabilities.shape)

    def scores(p: np.ndarray) -> dict[str, float]:
        predicted = p.argmax(axis=1)
        recalls = metrics.recall_score(
            target, predicted, labels=classes, average=None, sample_weight=weight, zero_division=np.nan
        )
        return {
            "accuracy": float(metrics.accuracy_score(target, predicted, sample_weight=weight)),
            "balanced_accuracy": float(np.nanmean(recalls)),
            "log_loss": float(metrics.log_loss(target, p, sample_weight=weight, labels=classes)),
        }

    result: dict[str, Any] = {"rows": len(target), **scores(probabilities)}
    result["calibration_error"] = calibration_error(probabilities, target, weight)
    if len(classes) == 2 and (frequencies > 0).all():
        result["auc"] = float(metrics.roc_auc_score(target, probabilities[:, 1], sample_weight=weight))
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
        squared = metrics.mean_squared_error(target, p, sample_weight=weight)
        absolute = metrics.mean_absolute_error(target, p, sample_weight=weight)
        found = {"rmse": float(np.sqrt(squared)), "mae": float(absolute)}
        if len(target) > 1:  # R² is not defined for one row
            found["r2"] = float(metrics.r2_score(target, p, sample_weight=weight))
        return found

    constant = np.broadcast_to(mean, predictions.shape)
    return {"rows": len(target), **scores(predictions), "baseline": scores(constant)}


def calibration_error(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The expected calibration error of the top probability in 15 equal bins."""
    top = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == target
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = np.bincount(which, weights=weight * (is_right - top), minlength=BINS)
    return float(np.abs(gaps).sum() / weight.sum())

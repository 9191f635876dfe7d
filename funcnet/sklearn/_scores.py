"""The scores of a table's model, beside those of the best constant prediction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from funcnet.report._classification import wilson_interval
from funcnet.sklearn._base import take_rows

BINS = 15
RESAMPLES, CHUNK = 400, 4096
TITLES = {"brier": "Brier score", "log_loss": "log-loss (nats)", "auc": "AUC", "r2": "R²"}
NOT_SCORES = ("on", "rows", "recall", "intervals", "baseline", "warnings", "learning_curve")
MIN_ROWS = 10
"""Fewer rows have no intervals."""


def class_scores(
    probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Scores of class probabilities.

    Args:
        probabilities: [rows, classes].
        target: class numbers [rows].
        weight: [rows].
        names: of the classes.

    Returns:
        "accuracy", "balanced_accuracy" and "calibration_error" (15 equal bins of the top probability) in
        0 .. 1; "log_loss" in nats; "brier", the squared error of one of two classes, or summed over more;
        "auc" of two classes, if both are there; "recall" of each class that is there; as "intervals" the
        95 % bootstrap intervals of these; and as "baseline" those of predicting the class frequencies.
    """
    classes = np.arange(probabilities.shape[1])
    frequencies = np.bincount(target, weights=weight, minlength=len(classes)) / weight.sum()
    constant = np.broadcast_to(frequencies, probabilities.shape)

    def scores(p: np.ndarray) -> dict[str, float]:
        predicted = p.argmax(axis=1)
        return {
            "accuracy": float(metrics.accuracy_score(target, predicted, sample_weight=weight)),
            "balanced_accuracy": float(np.nanmean(recalls(predicted))),
            "log_loss": float(metrics.log_loss(target, p, sample_weight=weight, labels=classes)),
            "brier": float(np.average(squares(p), weights=weight)),
        }

    def recalls(predicted: np.ndarray) -> np.ndarray:
        found = metrics.recall_score(
            target, predicted, labels=classes, average=None, sample_weight=weight, zero_division=np.nan
        )
        return np.asarray(found)

    def squares(p: np.ndarray) -> np.ndarray:
        total = ((p - (target[:, None] == classes)) ** 2).sum(axis=1)
        return total / 2 if len(classes) == 2 else total  # as scikit-learn does

    result: dict[str, Any] = {"rows": len(target), **scores(probabilities)}
    predicted = probabilities.argmax(axis=1)
    result["calibration_error"] = calibration_error(probabilities, target, weight)
    is_class, is_right = target[:, None] == classes, (predicted == target)[:, None]
    likelihood = np.maximum(probabilities[np.arange(len(target)), target], np.finfo(np.float64).eps)
    columns: dict[Any, np.ndarray] = {
        "accuracy": is_right[:, 0],
        "log_loss": -np.log(likelihood),
        "brier": squares(probabilities),
        **{("class", c): is_class[:, c] for c in classes},
        **{("right", c): (is_class & is_right)[:, c] for c in classes},
    }
    has_auc = len(classes) == 2 and bool((frequencies > 0).all())
    if has_auc:
        result["auc"] = float(metrics.roc_auc_score(target, probabilities[:, 1], sample_weight=weight))
        columns["placement"] = _placements(probabilities[:, 1], target, weight)
        columns["placement of 1"] = columns["placement"] * target

    def statistics(means: Mapping[Any, np.ndarray]) -> dict[str, np.ndarray]:
        found = {name: means[name] for name in ("accuracy", "log_loss", "brier")}
        there = np.flatnonzero(frequencies)
        shares = [means["right", c] / means["class", c] for c in there]
        found["balanced_accuracy"] = np.mean(shares, axis=0)  # NaN where a class is not drawn
        if has_auc:
            ones = means["placement of 1"] / means["class", 1]
            zeros = (means["placement"] - means["placement of 1"]) / means["class", 0]
            found["auc"] = np.clip(ones + zeros - result["auc"], 0.0, 1.0)
        return found

    result["recall"] = {
        name: float(recall)
        for name, recall in zip(names, recalls(predicted), strict=True)
        if not np.isnan(recall)
    }
    result["intervals"] = _bootstrap(columns, weight, statistics)
    return {**result, "baseline": scores(constant)}


def label_scores(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Scores of labels: "accuracy" (all of a row are right), "label_accuracy", "log_loss".

    With their "intervals", and of predicting each label's frequency as "baseline".
    """
    constant = np.broadcast_to(np.average(target, axis=0, weights=weight), probabilities.shape)

    def columns(p: np.ndarray) -> dict[str, np.ndarray]:
        is_right = (p > 0.5) == (target == 1)
        likelihood = np.maximum(np.where(target == 1, p, 1 - p), np.finfo(np.float64).eps)
        return {
            "accuracy": is_right.all(axis=1),
            "label_accuracy": is_right.mean(axis=1),
            "log_loss": -np.log(likelihood).mean(axis=1),
        }

    def scores(p: np.ndarray) -> dict[str, float]:
        return {name: float(np.average(values, weights=weight)) for name, values in columns(p).items()}

    intervals = _bootstrap(columns(probabilities), weight, dict)
    result = {"rows": len(target), **scores(probabilities), "intervals": intervals}
    return {**result, "baseline": scores(constant)}


def value_scores(predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Scores of numbers: "rmse" and "mae" in the target's units, "r2" if there are several rows.

    With their "intervals", and of predicting the mean target as "baseline".
    """
    mean = np.average(target, axis=0, weights=weight)

    def scores(p: np.ndarray) -> dict[str, float]:
        squared = metrics.mean_squared_error(target, p, sample_weight=weight)
        absolute = metrics.mean_absolute_error(target, p, sample_weight=weight)
        found = {"rmse": float(np.sqrt(squared)), "mae": float(absolute)}
        if len(target) > 1:  # R² is not defined for one row
            found["r2"] = float(metrics.r2_score(target, p, sample_weight=weight))
        return found

    error, centred = ((a - b).reshape(len(target), -1) for a, b in ((predictions, target), (target, mean)))
    outputs = range(error.shape[1])
    columns: dict[Any, np.ndarray] = {
        "mae": np.abs(error).mean(axis=1),
        **{("error", j): error[:, j] ** 2 for j in outputs},
        **{("target", j): centred[:, j] for j in outputs},
        **{("square", j): centred[:, j] ** 2 for j in outputs},
    }

    def statistics(means: Mapping[Any, np.ndarray]) -> dict[str, np.ndarray]:
        squared = np.stack([means["error", j] for j in outputs])
        variance = np.stack([means["square", j] - means["target", j] ** 2 for j in outputs])
        r2 = np.mean(1 - squared / variance, axis=0)
        return {"rmse": np.sqrt(squared.mean(axis=0)), "mae": means["mae"], "r2": r2}

    intervals = _bootstrap(columns, weight, statistics)
    result = {"rows": len(target), **scores(predictions), "intervals": intervals}
    return {**result, "baseline": scores(np.broadcast_to(mean, predictions.shape))}


def _bootstrap(
    columns: Mapping[Any, np.ndarray],
    weight: np.ndarray,
    statistics: Callable[[Mapping[Any, np.ndarray]], Mapping[str, np.ndarray]],
) -> dict[str, list[float]]:
    """95 % intervals of statistics of weighted means, by drawing rows with replacement.

    Each row is drawn a number of times that is Poisson distributed, so that many rows need no more memory.

    Args:
        columns: a value for each row, [rows] each.
        weight: [rows].
        statistics: from the means of the columns, [resamples] each, to the statistics.

    Returns:
        Lower and upper bound by name; none for fewer than 10 rows, or for a statistic that many resamples
        do not have.

    Source: Chamandy et al., "Estimating uncertainty for massive data streams", 2012.
    """
    if len(weight) < MIN_ROWS:
        return {}
    values = np.stack([weight, *(weight * column for column in columns.values())], axis=1)
    totals, rng = np.zeros((RESAMPLES, values.shape[1])), np.random.default_rng(0)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        totals += rng.poisson(1.0, (RESAMPLES, len(part))) @ part
    bounds = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        means = dict(zip(columns, (totals[:, 1:] / totals[:, :1]).T, strict=True))
        for name, found in statistics(means).items():
            known = found[np.isfinite(found)]
            if len(known) > 0.9 * RESAMPLES:
                bounds[name] = np.quantile(known, [0.025, 0.975]).tolist()
    return bounds


def row_losses(predictions: np.ndarray, target: np.ndarray, task: str) -> np.ndarray:
    """The loss of each row [rows]: in nats, or squared units of the target.

    Args:
        predictions: probabilities [rows, classes or labels], or values [rows] or [rows, outputs].
        target: class numbers [rows], 0 or 1 [rows, labels], or values as predicted.
        task: "classes", "labels" or "values".
    """
    if task == "values":
        return ((predictions - target) ** 2).reshape(len(target), -1).mean(axis=1)
    smallest = np.finfo(np.float64).eps
    if task == "labels":
        likelihood = np.where(target == 1, predictions, 1 - predictions)
        return -np.log(np.maximum(likelihood, smallest)).mean(axis=1)
    return -np.log(np.maximum(predictions[np.arange(len(target)), target], smallest))


def mean_interval(values: np.ndarray) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a mean over rows; None for fewer than 10 rows."""
    low, high = _bootstrap({"mean": values}, np.ones(len(values)), dict).get("mean", (None, None))
    return None if low is None or high is None else (low, high)


def _placements(score: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of each row of class 1 the share of rows of class 0 with a lower score, and the other way round.

    The area under the ROC curve is their mean over either class (DeLong et al. 1988).
    """
    order = np.argsort(score, kind="stable")
    _, first, place = np.unique(score[order], return_index=True, return_inverse=True)
    shares = np.empty(len(score))
    for kind in (0, 1):
        other = np.where(target[order] == kind, 0.0, weight[order])
        before = np.concatenate([[0.0], np.cumsum(other)])
        ends = np.append(first[1:], len(score))
        below = (before[first] + before[ends])[place] / 2 / before[-1]  # half of those that are equal
        rows = order[target[order] == kind]
        shares[rows] = (below if kind == 1 else 1 - below)[target[order] == kind]
    return shares


def calibration_error(probabilities: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The expected calibration error of the top probability in 15 equal bins."""
    top = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == target
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = np.bincount(which, weights=weight * (is_right - top), minlength=BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def score_table(
    reports: Mapping[str, Mapping[str, Any]], target: str = "the target", first: str | None = None
) -> tuple[list[str], list[list[str]]]:
    """Reports side by side: the columns of a table, and its rows, as text.

    Args:
        reports: of `estimator.report()`, by the name of their rows.
        target: its name, for units.
        first: the score of the first row; the others keep their order.

    Raises:
        ValueError: if there is no score of this name.
    """
    units = {name: f"{name.upper()} (in units of {target})" for name in ("rmse", "mae")}
    last = list(reports.values())[-1]
    names = [n for n in dict.fromkeys(n for r in reports.values() for n in r) if n not in NOT_SCORES]
    if first is not None:
        if first not in names:
            raise ValueError(
                f"the metric must be one of {', '.join(names)} for this target, got {first!r}."
            )
        names = [first, *(name for name in names if name != first)]
    rows = [
        [
            (TITLES | units).get(name, name.replace("_", " ")),
            *(_with_interval(report, name) for report in reports.values()),
            format_score(last["baseline"].get(name)),
        ]
        for name in names
    ]
    columns = [f"{name}, {report['rows']:,} rows" for name, report in reports.items()]
    return ["score", *columns, "best constant"], rows


def recall_table(reports: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The recall of each class, as `score_table`; no rows for numbers."""
    names = dict.fromkeys(name for report in reports.values() for name in report.get("recall", ()))
    rows = [[n, *(format_score(r["recall"].get(n)) for r in reports.values())] for n in names]
    return ["class", *reports], rows


COVERAGES = (0.5, 0.8, 0.9, 0.95)
MAX_COVERED = 2000
"""Rows whose intervals are computed."""


def coverage_table(model: Any, X: Any, y: Any, target: str) -> tuple[list[str], list[list[str]]]:
    """How many targets lie in the intervals of an MLPRegressor, as `score_table`.

    Args:
        model: the fitted estimator.
        X: rows, at least one.
        y: their targets.
        target: its name, for units.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(X))[:MAX_COVERED])
    part, values = take_rows(X, rows), np.asarray(y, np.float64)[rows]
    table = []
    for coverage in COVERAGES:
        lower, upper = model.predict_interval(part, coverage)
        values = values.reshape(lower.shape)
        is_covered = (lower <= values) & (values <= upper)
        low, high = wilson_interval(is_covered.mean(), np.array(len(rows)))
        width = float((upper - lower).mean())
        table.append(
            [
                f"{100 * coverage:.0f} %",
                f"{100 * is_covered.mean():.1f} % ({100 * low:.1f} – {100 * high:.1f} %)",
                format_score(width) if np.isfinite(width) else "infinite: too few training rows",
            ]
        )
    return ["asked for", "measured", f"mean width (in units of {target})"], table


def format_score(value: float | None) -> str:
    """A number with four decimals, two from 10 and none from 1,000, or three digits below 0.001."""
    if value is None:
        return ""
    if abs(value) < 1e-10:  # a rounding error
        return "0.0000"
    if abs(value) < 0.001:
        return f"{value:.3g}"
    decimals = 4 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    return f"{value:,.{decimals}f}"


def _with_interval(report: Mapping[str, Any], name: str) -> str:
    bounds = report["intervals"].get(name, ())
    interval = f" ({' – '.join(map(format_score, bounds))})" if bounds else ""
    return f"{format_score(report.get(name))}{interval}"

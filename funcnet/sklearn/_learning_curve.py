"""Would more rows help? The score on held-out rows by the number of training rows."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from funcnet import _check
from funcnet.sklearn._base import check_weight
from funcnet.sklearn._scores import TITLES, format_score, row_losses
from funcnet.tabular._recipe import train_members

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
"""Shares of the training rows."""
MIN_ROWS = 20
"""Fewer rows are not trained on."""
MAX_REPEATS = 3
SCORES = {"classes": "log_loss", "labels": "log_loss", "values": "rmse"}


def learning_curve(model: Any, training: Any, X: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
    """Train single networks on parts of the training rows, and score them on other rows.

    Each network is trained with the settings of the estimator, "auto" ones chosen for the part; columns are
    read as the estimator reads them. Of each part a fifth chooses the epoch, unless `early_stopping` is
    False. The parts have the classes in the same shares, and larger ones hold the smaller ones. Their
    number is such that all of it takes about as long as the fit.

    Args:
        model: a fitted MLPClassifier or MLPRegressor.
        training: its training rows and their targets, (X, y) or (X, y, sample_weight).
        X: rows to score on, which it was not trained on.
        y: their targets.
        sample_weight: their weights.

    Returns:
        "score", the name of the score: "log_loss" in nats or "rmse" in units of the target; "rows", the
        number of training rows of each point [points]; "values" [points, repeats]; "change", from the last
        point but one to the last, with its "standard_error" (None for one repeat); and "repeated", the
        number of rows of X that are training rows, too.

    Raises:
        TypeError: if `training` is not a tuple of rows and targets.
        ValueError: if it holds fewer than 40 rows, or rows or targets do not fit the estimator.

    Source: Perlich, Provost, Simonoff, "Tree induction vs. logistic regression: a learning-curve analysis",
    2003.
    """
    rows, targets, weights = _check_training(training)
    features = model._read(rows)
    target = model._encode_y(targets, len(features), np.arange(len(features)), False)
    weight = check_weight(weights, len(features)) * model._weigh(target)
    used = np.flatnonzero(weight > 0)
    features, target, weight = features.rows(used), target[used], weight[used]
    held_out = model._read(X)
    held_out_target = model._encode_y(y, len(held_out), np.arange(len(held_out)), False)
    held_out_weight = check_weight(sample_weight, len(held_out))
    sizes = [size for size in (round(share * len(used)) for share in FRACTIONS) if size >= MIN_ROWS]
    if len(sizes) < 2:
        raise ValueError(
            f"training must hold at least {2 * MIN_ROWS} rows of a weight above 0, got {len(used)}."
        )
    task = model._recipe_task()
    repeats = int(np.clip(len(model.members_) // 2, 1, MAX_REPEATS))
    settings = dataclasses.replace(model._settings(), members=1)
    losses = np.empty((len(sizes), repeats, len(held_out)))
    for repeat in range(repeats):
        order = _order_rows(target if task["task"] == "classes" else None, len(used), repeat)
        for i, size in enumerate(sizes):
            part = np.sort(order[:size])
            key = jax.random.key(np.uint32(repeat))
            networks = train_members(
                features.rows(part), target[part], weight=weight[part], settings=settings, key=key, **task
            )
            losses[i, repeat] = row_losses(networks.predict(held_out), held_out_target, task["task"])
    return {
        "score": SCORES[task["task"]],
        "rows": sizes,
        **_summarize(losses, held_out_weight, task["task"]),
        "repeated": _count_repeated(held_out, held_out_target, features, target),
    }


def _check_training(training: Any) -> tuple[Any, Any, Any]:
    """Rows, targets and weights; None for no weights."""
    if not isinstance(training, tuple | list) or len(training) not in (2, 3):
        raise TypeError(
            "training must be a tuple of the training rows and their targets, got "
            f"{_check.describe(training)}. Try training=(X_train, y_train)."
        )
    return training[0], training[1], training[2] if len(training) == 3 else None


def _order_rows(classes: np.ndarray | None, rows: int, seed: int) -> np.ndarray:
    """Rows in random order; with classes, so that the first ones of any number have their shares."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    if classes is None:
        return order
    place = np.empty(rows)
    for c in np.unique(classes):
        members = order[classes[order] == c]
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def _summarize(losses: np.ndarray, weight: np.ndarray, task: str) -> dict[str, Any]:
    """The scores of losses [points, repeats, rows], and the change from the last point but one to the last.

    Its standard error has two parts: the rows that it is scored on (their losses are paired), and the
    draw of the training rows with the start of the networks (pooled over the points, as a ratio).
    """
    is_rmse = task == "values"
    means = np.average(losses, axis=2, weights=weight)
    values = np.sqrt(means) if is_rmse else means
    before, last = values[-2:].mean(axis=1)
    error = None
    if losses.shape[1] > 1 and (values > 0).all():
        difference = (losses[-1] - losses[-2]).mean(axis=0)
        centred = weight * (difference - np.average(difference, weights=weight))
        of_rows = np.sqrt((centred**2).sum()) / weight.sum()
        if is_rmse:
            of_rows /= before + last  # d√m = dm / 2√m
        spread = np.sqrt(np.log(values).var(axis=1, ddof=1).mean())
        of_runs = spread * last * np.sqrt(2 / losses.shape[1])
        error = float(np.hypot(of_rows, of_runs))
    return {"values": values.tolist(), "change": float(last - before), "standard_error": error}


def _count_repeated(features: Any, target: np.ndarray, of: Any, of_target: np.ndarray) -> int:
    """The number of rows that are among those of another table, with the same target."""

    def keys(features: Any, target: np.ndarray) -> list[bytes]:
        columns = [features.numbers, features.codes, np.reshape(target, (len(target), -1))]
        return [row.tobytes() for row in np.hstack([column.astype(np.float64) for column in columns])]

    known = set(keys(of, of_target))
    return sum(key in known for key in keys(features, target))


def describe(curve: dict[str, Any]) -> Iterator[str]:
    """What a curve says, a sentence each."""
    name = TITLES.get(curve["score"], curve["score"].upper())
    error, change, repeats = curve["standard_error"], curve["change"], len(curve["values"][0])
    if error is None:
        yield "Each point is one network, so another draw of the rows may give another curve."
    else:
        verb = "falls" if change < 0 else "rises"
        sign = (
            "more rows would probably help"
            if change < -2 * error
            else "there is no clear sign that more rows would help"
        )
        yield (
            f"From {curve['rows'][-2]:,} to {curve['rows'][-1]:,} training rows the {name} {verb} by "
            f"{format_score(abs(change))} ± {format_score(error)} (standard error): {sign}."
        )
    if curve["repeated"]:
        yield (
            f"{curve['repeated']:,} of the rows given are equal to training rows, target included: the "
            "scores on them may be too good."
        )
    networks = f"{repeats} networks" if repeats > 1 else "one network"
    yield (
        f"How it was made: for each number of rows, {networks} with the settings of this model (those that "
        "are chosen by themselves, for that number) trained on random parts of the training rows, and "
        "scored on the rows given. The model itself averages several, which is usually a little better."
    )

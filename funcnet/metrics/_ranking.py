"""Ranking metrics. They need all rows at once, so they are functions of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._compare import as_floating, in_float64
from funcnet._metric import relative, row_weights
from funcnet._types import Array, ArrayLike, Scalar


@_check.usage("fn.metrics.roc_auc(scores, targets), or supervised(..., auc=fn.metrics.roc_auc)")
def roc_auc(scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None = None) -> Scalar:
    """The area under the ROC curve: how often a row of class 1 scores higher than one of class 0.

    A tie counts half. With weights it is Σ w·w' over such pairs, divided by Σ w·w' over all pairs.

    Args:
        scores: [n], any increasing function of the probability, such as logits: `fn.predict(model, x)`.
        targets: [n], 0 or 1.
        weight: [n], at least 0; a row of weight 0 may hold any values.

    Returns:
        A scalar in [0, 1]. Inside jit, where values can't be checked, NaN if only one class occurs, or a
        target is neither 0 nor 1.

    Raises:
        ValueError: if lengths differ, a score is not finite, a target is neither 0 nor 1, a weight is
            negative, or only one class occurs.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
        0.75

    Source: Hanley, McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    rows = _rows("roc_auc", scores, targets, weight)
    return in_float64(_roc_auc, *rows) if _tree.is_concrete(rows) else _roc_auc(*rows)


@_check.usage(
    "fn.metrics.average_precision(scores, targets), or supervised(..., auc=fn.metrics.average_precision)"
)
def average_precision(scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None = None) -> Scalar:
    """The mean over rows of class 1 of the precision among rows that score at least as high.

    The area under the precision-recall curve as a sum of steps, Σ (Rₙ - Rₙ₋₁)·Pₙ, without
    interpolation.

    Args:
        scores: [n], any increasing function of the probability, such as logits.
        targets: [n], 0 or 1.
        weight: [n], at least 0; a row of weight 0 may hold any values.

    Returns:
        A scalar in [0, 1]. Inside jit, NaN if class 1 does not occur, or a target is neither 0 nor 1.

    Raises:
        ValueError: as for `roc_auc`, except that all rows may be of class 1, which gives 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> scores, targets = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])
        >>> round(float(fn.metrics.average_precision(scores, targets)), 4)
        0.8333

    Source: Zhu, "Recall, precision and average precision", 2004.
    """
    rows = _rows("average_precision", scores, targets, weight, all_positive_allowed=True)
    return in_float64(_average_precision, *rows) if _tree.is_concrete(rows) else _average_precision(*rows)


roc_auc.of_all_rows = average_precision.of_all_rows = True  # type: ignore[attr-defined]


def _roc_auc(score: Array, target: Array, weight: Array) -> Array:
    positive, negative = jnp.where(target == 1, weight, 0), jnp.where(target == 1, 0, weight)
    below, up_to = _weight_below(score, negative)
    correct_pairs = jnp.sum(positive * (below + up_to)) / 2
    return _nan_if_any_is(score, target, correct_pairs / (jnp.sum(positive) * jnp.sum(negative)))


def _average_precision(score: Array, target: Array, weight: Array) -> Array:
    positive = jnp.where(target == 1, weight, 0)
    reversed_score = ~score if jnp.issubdtype(score.dtype, jnp.integer) else -score  # ~ never overflows
    _, true_positives = _weight_below(reversed_score, positive)
    _, predicted_positives = _weight_below(reversed_score, weight)
    precision = true_positives / jnp.where(predicted_positives > 0, predicted_positives, 1)
    return _nan_if_any_is(score, target, jnp.sum(positive * precision) / jnp.sum(positive))


def _nan_if_any_is(score: Array, target: Array, value: Array) -> Array:
    """NaN if a score is, which sorting would rank above all numbers, or a target, which is of no class."""
    return jnp.where(jnp.isnan(score).any() | jnp.isnan(target).any(), jnp.nan, value)


def _weight_below(score: Array, weight: Array) -> tuple[Array, Array]:
    """For each row the total weight of the rows with a lower score, and with a lower or equal one."""
    order = jnp.argsort(score)
    sorted_score = score[order]
    cumulative = jnp.concatenate([jnp.zeros_like(weight[:1]), jnp.cumsum(weight[order])])
    below = jnp.searchsorted(sorted_score, score, side="left")
    up_to = jnp.searchsorted(sorted_score, score, side="right")
    return cumulative[below], cumulative[up_to]


def _rows(
    what: str,
    scores: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None,
    all_positive_allowed: bool = False,
) -> tuple[Any, Any, Any]:
    """Scores, targets and weights, [n] each. If all are concrete, scores are ranks and weights relative."""
    score = _check.array(f"the scores of {what}", scores)
    target = _check.array(f"the targets of {what}", targets)
    _check.fits_int32("targets", target, "Number classes from 0.")
    n = _check.num_rows(what, score, target, names="scores and targets")
    if score.ndim != 1 or target.ndim != 1:
        raise ValueError(
            f"{what} expects one score and one target for each row, got scores of shape {score.shape} and "
            f"targets of shape {target.shape}. With two logits, pass logits[:, 1] - logits[:, 0]."
        )
    weight: Any = row_weights(weights, n)
    if _tree.is_concrete((score, target, weight)):
        score, target, weight = (np.asarray(a) for a in (score, target, weight))
        _check_values(what, score, target, weight, all_positive_allowed)
        # Ranked in the dtype given: float32 would merge scores that differ in the 12th digit.
        ranks = np.unique(np.where(weight > 0, score, score.dtype.type(0)), return_inverse=True)[1]
        return ranks.astype(np.int32), np.where(weight > 0, target, 0), relative(weight, np.float64)
    if _tree.is_concrete(score) and not np.isnan(np.asarray(score)).any():  # float32 would merge, as above
        score = np.unique(np.asarray(score), return_inverse=True)[1].astype(np.int32)
    if isinstance(weight, jax.core.Tracer):
        largest = jnp.max(weight)  # products of small weights would be 0
        weight = weight / jnp.where(largest > 0, largest, 1)
    else:
        weight = relative(weight)
    weight, target = jnp.asarray(weight, float), jnp.asarray(target)
    is_class = jnp.where((target == 0) | (target == 1), (target == 1).astype(float), jnp.nan)
    # A row of weight zero may hold any values.
    score, target = jnp.where(weight > 0, score, 0), jnp.where(weight > 0, is_class, 0.0)
    is_integer = jnp.issubdtype(score.dtype, jnp.integer)
    return score if is_integer else as_floating(score), target, weight


def _check_values(what: str, score: Any, target: Any, weight: Any, all_positive_allowed: bool) -> None:
    counts = weight > 0
    if (not_finite := counts & ~np.isfinite(score)).any():
        row = np.flatnonzero(not_finite)[0]
        raise ValueError(f"{what} expects finite scores, got {score[row]} in row {row}.")
    if (wrong := counts & (target != 0) & (target != 1)).any():
        row = np.flatnonzero(wrong)[0]
        raise ValueError(f"{what} expects targets 0 and 1, got {target[row]} in row {row}.")
    classes = set(target[counts].tolist())
    if 1 not in classes or (len(classes) < 2 and not all_positive_allowed):
        only = f"only class {int(classes.pop())}"
        raise ValueError(
            f"the targets of {what} must be of both classes, got {only}, for which it is not defined."
        )

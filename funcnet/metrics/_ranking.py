"""Metrics of a ranking. They need all rows at once, so they are functions of whole arrays."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._compare import floating
from funcnet._types import Array, ArrayLike, Scalar


def roc_auc(scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None = None) -> Scalar:
    """The area under the ROC curve: how often a row of class 1 scores higher than one of class 0.

    A tie counts half. Weighted, it is Σ w·w' over such pairs, divided by Σ w·w' over all pairs.

    Args:
        scores: [n], any increasing function of the probability, such as logits: `fn.predict(model, x)`.
        targets: [n], 0 or 1.
        weight: [n], at least 0; a row of weight 0 may hold anything.

    Returns:
        A scalar in [0, 1]. Inside jit, where values can't be looked at, NaN if only one class occurs.

    Raises:
        ValueError: if the lengths differ, a score is not finite, a target is neither 0 nor 1, a weight is
            negative, or only one class occurs.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
        0.75

    Source: Hanley, McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    score, positive, negative = _checked("roc_auc", scores, targets, weight)
    below, up_to = _mass_around(score, negative)
    pairs = jnp.sum(positive * (below + up_to)) / 2
    return pairs / (jnp.sum(positive) * jnp.sum(negative))


def average_precision(scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None = None) -> Scalar:
    """The mean, over rows of class 1, of the precision among rows that score as high or higher.

    The area under the precision-recall curve as a sum of steps, Σ (Rₙ - Rₙ₋₁)·Pₙ, without
    interpolation.

    Args:
        scores: [n], any increasing function of the probability, such as logits.
        targets: [n], 0 or 1.
        weight: [n], at least 0; a row of weight 0 may hold anything.

    Returns:
        A scalar in [0, 1]. Inside jit NaN if class 1 does not occur.

    Raises:
        ValueError: as for `roc_auc`, but for rows that are all of class 1, where it is 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> scores, targets = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])
        >>> round(float(fn.metrics.average_precision(scores, targets)), 4)
        0.8333

    Source: Zhu, "Recall, precision and average precision", 2004.
    """
    score, positive, negative = _checked("average_precision", scores, targets, weight, of_one=True)
    _, hits = _mass_around(-score, positive)
    _, all_rows = _mass_around(-score, positive + negative)
    at = hits / jnp.where(all_rows > 0, all_rows, 1)
    return jnp.sum(positive * at) / jnp.sum(positive)


roc_auc.of_all_rows = average_precision.of_all_rows = True  # type: ignore[attr-defined]


def _mass_around(score: Array, mass: Array) -> tuple[Array, Array]:
    """For each row the mass of the rows that score less, and of those that score less or the same."""
    order = jnp.argsort(score)
    ordered, total = score[order], jnp.concatenate([jnp.zeros_like(mass[:1]), jnp.cumsum(mass[order])])
    below = jnp.searchsorted(ordered, score, side="left")
    up_to = jnp.searchsorted(ordered, score, side="right")
    return total[below], total[up_to]


def _checked(
    what: str, scores: ArrayLike, targets: ArrayLike, weight: ArrayLike | None, of_one: bool = False
) -> tuple[Array, Array, Array]:
    """Scores, and each row's mass as one of class 1 and as one of class 0."""
    score, target = floating(scores), jnp.asarray(targets)
    mass = jnp.ones(score.shape, score.dtype) if weight is None else jnp.asarray(weight, score.dtype)
    _check.num_rows(what, score, target, mass)
    if score.ndim != 1 or target.ndim != 1 or mass.ndim != 1:
        raise ValueError(
            f"{what} wants one score and one target for each row; got scores of shape {score.shape} and "
            f"targets of shape {target.shape}. Of logits of two classes: logits[:, 1] - logits[:, 0]."
        )
    if _tree.is_concrete((score, target, mass)):
        _check_values(what, np.asarray(score), np.asarray(target), np.asarray(mass), of_one)
    score = jnp.where(mass > 0, score, 0)  # a row that does not count may hold anything
    return score, jnp.where(target == 1, mass, 0), jnp.where(target == 1, 0, mass)


def _check_values(what: str, score: Any, target: Any, mass: Any, of_one: bool) -> None:
    _check.weights(mass)
    counts = mass > 0
    if (unranked := counts & ~np.isfinite(score)).any():
        row = np.flatnonzero(unranked)[0]
        raise ValueError(f"{what} ranks finite scores; row {row} holds {score[row]}.")
    if (wrong := counts & (target != 0) & (target != 1)).any():
        row = np.flatnonzero(wrong)[0]
        raise ValueError(f"{what} wants targets 0 and 1; row {row} holds {target[row]}.")
    kinds = set(target[counts].tolist())
    if 1 not in kinds or (len(kinds) < 2 and not of_one):
        only = f"only class {int(kinds.pop())}"
        raise ValueError(f"{what} is not defined where {only} occurs: there is nothing to rank against it.")

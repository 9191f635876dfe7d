"""Checks of concrete targets for each loss, before compilation."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.losses._classification import (
    binary_cross_entropy,
    cross_entropy,
    multilabel_cross_entropy,
)
from funcnet.losses._likelihood import kl_divergence, poisson
from funcnet.losses._margin import focal, hinge, zero_one


def check_targets(loss: Any, targets: Any, output_shape: Callable[[], tuple[int, ...]]) -> None:
    """Check that concrete targets [n, ...] are valid for a loss of a prediction and a target.

    `output_shape` computes the shape of one prediction, which only some losses need.
    """
    if loss is cross_entropy or loss is zero_one:
        logits_shape = output_shape()
        if not logits_shape or (loss is zero_one and logits_shape[-1] == 1):
            return  # the loss itself refuses a scalar, or compares two classes
        if jnp.issubdtype(targets.dtype, jnp.integer) and targets.shape[1:] == logits_shape[:-1]:
            check_between(loss.__name__, targets, 0, logits_shape[-1] - 1)
        elif (
            loss is cross_entropy
            and jnp.issubdtype(targets.dtype, jnp.floating)
            and targets.shape[1:] == logits_shape
        ):
            check_probabilities("cross_entropy", targets)
        return
    for checked_loss, check in CHECKS.items():
        if loss is checked_loss:
            check(loss.__name__, targets)


def check_probabilities(what: str, targets: Any) -> None:
    """Check that concrete rows are probabilities: not negative, and adding up to 1."""
    values = np.asarray(targets)
    # The entries of half precision are rounded, and its sums would be.
    tolerance = 1e-3 if values.dtype.itemsize > 2 else 1e-2
    wrong = (values < 0).any(axis=-1) | (np.abs(values.astype(np.float64).sum(axis=-1) - 1) > tolerance)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"{what} expects floating targets of the logits' shape to be probabilities adding up to 1, got "
            f"{values[row].tolist()} in row {row}. For class numbers: y.astype(int), without the last axis."
        )


def check_between(what: str, targets: Any, low: int, high: int) -> None:
    """Check that concrete targets are in low .. high, both included."""
    values = np.asarray(targets)
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        hint = (
            f"The model returns {high + 1} logits: its last layer needs one output for each class, and "
            "classes are numbered from 0."
            if what in ("cross_entropy", "zero_one")
            else "Encode two classes as 0 and 1, or use cross_entropy for more."
        )
        raise ValueError(
            f"{what} expects targets from {low} to {high}, got {values[row]} in row {row} "
            f"({int(outside.sum())} of {outside.size} are out of range). {hint}"
        )


def check_binary(what: str, targets: Any) -> None:
    """Check that all concrete targets are 0 or 1."""
    values = np.asarray(targets)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"{what} expects targets 0 and 1, got {values[row]} in row {row} ({int(wrong.sum())} of "
            f"{wrong.size} are neither). Convert classes -1 and 1 by (y + 1) // 2."
        )


def check_counts(what: str, targets: Any) -> None:
    """Check that no concrete target is negative."""
    values = np.asarray(targets)
    if (values < 0).any():
        row = int(np.argwhere(values < 0)[0][0])
        raise ValueError(f"{what} expects targets of at least 0, got {values[row]} in row {row}.")


def _check_probability(what: str, targets: Any) -> None:
    check_between(what, targets, 0, 1)


def _check_floating_probabilities(what: str, targets: Any) -> None:
    if jnp.issubdtype(targets.dtype, jnp.floating):
        check_probabilities(what, targets)


CHECKS: dict[Any, Callable[[str, Any], None]] = {
    binary_cross_entropy: _check_probability,
    multilabel_cross_entropy: _check_probability,
    focal: check_binary,
    hinge: check_binary,
    kl_divergence: _check_floating_probabilities,
    poisson: check_counts,
}

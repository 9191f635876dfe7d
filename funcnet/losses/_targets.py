"""What concrete targets must hold for a loss, told before anything compiles."""

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
from funcnet.losses._margin import focal, hinge


def suitable(loss: Any, targets: Any, output_shape: Callable[[], tuple[int, ...]]) -> None:
    """Raise if concrete targets [n, ...] don't suit the loss of a prediction and a target.

    `output_shape` computes the shape of one prediction, which only some losses need.
    """
    if loss is cross_entropy:
        classes = output_shape()
        if not classes:
            return  # the loss itself says that a scalar is no logit for each class
        if jnp.issubdtype(targets.dtype, jnp.integer) and targets.shape[1:] == classes[:-1]:
            between("cross_entropy", targets, 0, classes[-1] - 1)
        elif jnp.issubdtype(targets.dtype, jnp.floating) and targets.shape[1:] == classes:
            probabilities("cross_entropy", targets)
        return
    for one, check in CHECKS.items():
        if loss is one:
            check(loss.__name__, targets)


def probabilities(what: str, targets: Any) -> None:
    """Concrete rows of probabilities: none negative, adding up to 1."""
    values = np.asarray(targets)
    wrong = (values < 0).any(axis=-1) | (np.abs(values.sum(axis=-1) - 1) > 1e-3)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"{what} wants floating targets of the logits' shape to be probabilities that add up to 1; row "
            f"{row} holds {values[row].tolist()}. For class numbers: y.astype(int), without the last axis."
        )


def between(what: str, targets: Any, low: int, high: int) -> None:
    """Concrete targets in low .. high, ends included."""
    values = np.asarray(targets)
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        extra = (
            f"the model gives {high + 1} logits: give its last layer one output for each class, or "
            "number the classes from 0"
            if what == "cross_entropy"
            else "encode the two classes as 0 and 1, or use cross_entropy for more"
        )
        raise ValueError(
            f"{what} wants targets from {low} to {high}; row {row} holds {values[row]} "
            f"({int(outside.sum())} of {outside.size} lie outside). Here {extra}."
        )


def zeros_and_ones(what: str, targets: Any) -> None:
    """Concrete targets of which each is 0 or 1."""
    values = np.asarray(targets)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"{what} wants targets 0 and 1; row {row} holds {values[row]} ({int(wrong.sum())} of "
            f"{wrong.size} are neither). Classes -1 and 1 become 0 and 1 by (y + 1) // 2."
        )


def counts(what: str, targets: Any) -> None:
    """Concrete targets of which none is negative."""
    values = np.asarray(targets)
    if (values < 0).any():
        row = int(np.argwhere(values < 0)[0][0])
        raise ValueError(f"{what} wants counts as targets, at least 0; row {row} holds {values[row]}.")


def _probability(what: str, targets: Any) -> None:
    between(what, targets, 0, 1)


def _rows_of_probabilities(what: str, targets: Any) -> None:
    if jnp.issubdtype(targets.dtype, jnp.floating):
        probabilities(what, targets)


CHECKS: dict[Any, Callable[[str, Any], None]] = {
    binary_cross_entropy: _probability,
    multilabel_cross_entropy: _probability,
    focal: zeros_and_ones,
    hinge: zeros_and_ones,
    kl_divergence: _rows_of_probabilities,
    poisson: counts,
}

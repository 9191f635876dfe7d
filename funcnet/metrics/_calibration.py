"""Metrics of predicted probabilities: the Brier score and the calibration error."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import (
    as_array,
    as_class_numbers,
    as_floating,
    correct,
    is_class_number,
    is_one_hot,
    keep_digits,
    softmax,
    sums_to_one,
)
from funcnet._metric import Metric
from funcnet._types import Array, ArrayLike, Scalar

MAX_BINS = 2**20


@functools.partial(keep_digits, of_classes=True)
def brier(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """The Brier score of one example: the squared distance of probabilities from the outcome.

    With one logit for two classes: (p - t)² with p = sigmoid(logit), in [0, 1]. With several logits:
    Σ (p - t)² over the classes with p = softmax(logits), in [0, 2]; so two logits give twice the score of
    one.

    Args:
        logits: the target's shape (the score is averaged over the entries), or [..., classes].
        target: 0/1 or a probability of the logits' shape; or integers [...], or floating rows
            [..., classes] that add up to 1, such as one-hot. If an example can have several labels,
            targets must be integers.

    Returns:
        A scalar. NaN for a class that there is none of, and inside jit for rows that don't add up to 1.

    Raises:
        ValueError: if the shapes match none of these, or a floating row does not add up to 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.brier(jnp.array(0.0), jnp.array(1)))
        0.25
        >>> float(fn.metrics.brier(jnp.array([0.0, 0.0]), jnp.array(1)))
        0.5

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    z, t = as_floating(logits), jnp.asarray(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        t = as_class_numbers(t)
        scores = jnp.sum((softmax(z) - _one_hot(t, z)) ** 2, axis=-1)
        return jnp.mean(jnp.where(is_class_number(t, z.shape[-1]), scores, jnp.nan))
    _check.equal_shapes("brier", z, t)
    if is_one_hot(z, t):
        scores = jnp.sum((softmax(z) - t.astype(z.dtype)) ** 2, axis=-1)
        return jnp.mean(jnp.where(sums_to_one("brier", t), scores, jnp.nan))
    t = t.astype(z.dtype)
    return jnp.mean(jnp.where((t >= 0) & (t <= 1), (jax.nn.sigmoid(z) - t) ** 2, jnp.nan))


@_check.usage_of_metric("expected_calibration_error()")
def expected_calibration_error(*, bins: int = 15) -> Metric:
    """The difference of confidence and accuracy: Σ over bins of weight · |accuracy - confidence|.

    The confidence of an example is the probability of its predicted class: the largest of
    softmax(logits), or for one logit the larger of sigmoid(logit) and its complement. Bins have equal
    width, (i/bins, (i+1)/bins]. Empty bins are ignored.

    Args:
        bins: the number of bins, at least 1.

    Returns:
        A `Metric` of logits and targets as for `accuracy`, in [0, 1]. NaN if all weights are zero.

    Raises:
        TypeError: if bins is not an integer.
        ValueError: if bins is below 1; when called, if the shapes don't match.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.zeros(4), jnp.array([0, 0, 0, 1])  # confidence 50 %, accuracy 75 %
        >>> float(fn.metrics.measure(fn.metrics.expected_calibration_error(), logits, target))
        0.25

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017.
    """
    bins = _check.positive("bins", bins)
    if bins > MAX_BINS:
        raise ValueError(f"bins must be at most {MAX_BINS}, got {bins}. Try bins=15.")
    return CalibrationError(bins)


class CalibrationError(Metric):
    keeps_digits: ClassVar[bool] = True
    bins: int

    def sums(self, prediction: Any, target: Any) -> Array:
        z = as_floating(as_array("expected_calibration_error", "prediction", prediction))
        is_correct = correct("expected_calibration_error", z, target).astype(z.dtype)
        if z.shape == is_correct.shape:
            confidence = jax.nn.sigmoid(jnp.abs(z))
        else:
            confidence = jnp.max(softmax(z), axis=-1)
        bin_number = jnp.clip(jnp.ceil(confidence * self.bins) - 1, 0, self.bins - 1)
        in_bin = jax.nn.one_hot(bin_number.ravel().astype(jnp.int32), self.bins, dtype=z.dtype)
        gap = (is_correct - confidence).ravel()
        fraction = jnp.ones_like(gap) / gap.size
        return jnp.stack([gap * fraction, fraction]) @ in_bin

    def value(self, sums: Array) -> Array:
        gap, count = sums
        return jnp.sum(jnp.abs(gap)) / jnp.sum(count)


def _one_hot(target: Array, like: Array) -> Array:
    return jax.nn.one_hot(target.astype(jnp.int32), like.shape[-1], dtype=like.dtype)

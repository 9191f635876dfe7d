"""How far predicted probabilities can be trusted."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import add_up, class_numbers, floating, one_hot_rows, right
from funcnet._metric import Metric
from funcnet._types import Array, ArrayLike, Scalar


def brier(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """Brier's score of one example: the squared distance of probabilities from what came true.

    Two classes by one logit: (p - t)² with p = sigmoid(logit), in [0, 1]. Several: Σ (p - t)² over
    the classes with p = softmax(logits), in [0, 2]; so two logits give twice what one gives.

    Args:
        logits: the target's shape, averaged over the entries, or [..., classes].
        target: 0/1 or a probability of the logits' shape; or integers [...], or floating rows
            [..., classes] that add up to 1, such as one-hot. Several labels an example are integers.

    Returns:
        A scalar. NaN for an integer out of range, and inside jit for rows that don't add up to 1.

    Raises:
        ValueError: if the shapes fit none of these, or a floating row does not add up to 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.brier(jnp.array(0.0), jnp.array(1)))
        0.25
        >>> float(fn.metrics.brier(jnp.array([0.0, 0.0]), jnp.array(1)))
        0.5

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    z, t = floating(logits), jnp.asarray(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        t = class_numbers(t)
        each = jnp.sum((jax.nn.softmax(z) - _rows(t, z)) ** 2, axis=-1)
        return jnp.mean(jnp.where((t >= 0) & (t < z.shape[-1]), each, jnp.nan))
    _check.equal_shapes("brier", z, t)
    if one_hot_rows(z, t):
        each = jnp.sum((jax.nn.softmax(z) - t.astype(z.dtype)) ** 2, axis=-1)
        return jnp.mean(jnp.where(add_up("brier", t), each, jnp.nan))
    return jnp.mean((jax.nn.sigmoid(z) - t.astype(z.dtype)) ** 2)


def expected_calibration_error(*, bins: int = 15) -> Metric:
    """How far confidence and accuracy lie apart: Σ over bins of weight · |accuracy - confidence|.

    An example's confidence is the probability of its predicted class: the largest of
    softmax(logits), or for one logit that of sigmoid(logit) and its complement. Bins are equally wide,
    (i/bins, (i+1)/bins]. Empty bins count nothing.

    Args:
        bins: how many, at least 1.

    Returns:
        A `Metric` of logits and targets as for `accuracy`, in [0, 1]. NaN if no example counts.

    Raises:
        TypeError: if bins is no whole number.
        ValueError: if bins is below 1; later, if the shapes don't fit.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.zeros(4), jnp.array([0, 0, 0, 1])  # 50 % sure, 75 % right
        >>> float(fn.metrics.measure(fn.metrics.expected_calibration_error(), logits, target))
        0.25

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017.
    """
    _check.positive("bins", bins)
    return CalibrationError(bins)


class CalibrationError(Metric):
    bins: int

    def sums(self, prediction: Any, target: Any) -> Array:
        z = floating(prediction)
        correct = right("expected_calibration_error", z, target).astype(z.dtype)
        if z.shape == correct.shape:
            confidence = jax.nn.sigmoid(jnp.abs(z))
        else:
            confidence = jnp.max(jax.nn.softmax(z), axis=-1)
        place = jnp.clip(jnp.ceil(confidence * self.bins) - 1, 0, self.bins - 1)
        inside = jax.nn.one_hot(place.ravel().astype(jnp.int32), self.bins, dtype=z.dtype)
        gap = (correct - confidence).ravel()
        share = jnp.ones_like(gap) / gap.size
        return jnp.stack([gap * share, share]) @ inside

    def value(self, sums: Array) -> Array:
        gap, count = sums
        return jnp.sum(jnp.abs(gap)) / jnp.sum(count)


def _rows(target: Array, like: Array) -> Array:
    return jax.nn.one_hot(target, like.shape[-1], dtype=like.dtype)

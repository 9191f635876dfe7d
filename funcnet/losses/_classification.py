"""Classification losses of logits."""

import functools

import jax
import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._compare import (
    as_class_numbers,
    as_floating,
    broadcast_setting,
    keep_digits,
    log_softmax,
    pair,
)
from funcnet._types import Array, ArrayLike, Scalar


@keep_digits
def binary_cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """The negative log-likelihood of a target in {0, 1} under p = sigmoid(logit), numerically stable.

    Args:
        logits: any shape; log-odds of class 1. The loss is averaged over the entries.
        target: the same shape, 0 or 1 (any dtype) or a probability in between.
        smoothing: label smoothing s, at least 0 and below 1: targets become t·(1 - s) + s/2. It may be
            traced.

    Returns:
        A scalar in nats. NaN for a target outside [0, 1]. An infinite logit is certain: its loss is 0 if it
        is right.

    Raises:
        ValueError: if the shapes differ, or smoothing is out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.binary_cross_entropy(jnp.array(0.0), jnp.array(1))), 4)
        0.6931

    Source: Cox, "The regression analysis of binary sequences", 1958; smoothing: Szegedy et al.,
    "Rethinking the Inception architecture for computer vision", 2016.
    """
    smoothing = _check.setting("smoothing", smoothing, 0, 1, low_included=True)
    z, t = pair("binary_cross_entropy", logits, target)
    smoothed = t if _is_zero(smoothing) else t + (0.5 - t) * broadcast_setting("smoothing", smoothing, t)
    values = -_times(smoothed, jax.nn.log_sigmoid(z)) - _times(1 - smoothed, jax.nn.log_sigmoid(-z))
    return jnp.mean(jnp.where((t >= 0) & (t <= 1), values, jnp.nan))


@keep_digits
def multilabel_cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """The mean binary cross-entropy over labels, for labels that don't exclude each other.

    Args:
        logits: [..., labels]; log-odds of each label.
        target: the same shape: 1 for each label that applies, else 0; or probabilities.
        smoothing: as for `binary_cross_entropy`.

    Returns:
        A scalar in nats per label. NaN for a target outside [0, 1].

    Raises:
        ValueError: if the shapes differ, there is no axis of labels, or smoothing is out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits = jnp.array([0.0, 100.0, -100.0])
        >>> round(float(fn.losses.multilabel_cross_entropy(logits, jnp.array([1, 1, 0]))), 4)
        0.231

    Source: Bishop, "Neural Networks for Pattern Recognition", 1995 (independent attributes).
    """
    if jnp.shape(logits) != jnp.shape(target) or not jnp.ndim(target):
        raise ValueError(
            "multilabel_cross_entropy expects a logit and a 0 or 1 for each label, got logits of shape "
            f"{jnp.shape(logits)} and a target of shape {jnp.shape(target)} for one example. For exclusive "
            "classes use cross_entropy; for a single yes or no, binary_cross_entropy."
        )
    return binary_cross_entropy(logits, target, smoothing=smoothing)


@functools.partial(keep_digits, of_classes=True)
def cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """The negative log-likelihood of the target class under softmax(logits), numerically stable.

    Args:
        logits: [..., classes]; the loss is averaged over leading axes, such as positions of a sequence.
        target: integers [...] in 0 .. classes-1, or probabilities [..., classes] (one-hot).
        smoothing: the fraction of each target that is distributed evenly over all classes, at least 0 and
            below 1. It may be traced.

    Returns:
        A scalar in nats. NaN for an integer out of range. A class whose logit is -inf is impossible, one
        whose logit is inf is certain; NaN if several are certain, or none is possible.

    Raises:
        ValueError: if the target has neither of the two shapes, or smoothing is out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits = jnp.array([0.0, 0.0, 0.0])
        >>> round(float(fn.losses.cross_entropy(logits, jnp.array(2))), 4)
        1.0986
        >>> round(float(fn.losses.cross_entropy(logits, jnp.array([0.0, 0.0, 1.0]))), 4)
        1.0986

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs",
    1990; smoothing: Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.
    """
    smoothing = _check.setting("smoothing", smoothing, 0, 1, low_included=True)
    z = as_floating(logits)
    t = jnp.asarray(target)
    if not z.ndim or z.shape[-1] == 1:
        raise ValueError(
            f"cross_entropy expects logits of at least two classes, got logits of shape {z.shape} "
            "for one example. For two classes and a single logit, use binary_cross_entropy."
        )
    if jnp.issubdtype(t.dtype, jnp.integer) and t.shape == z.shape[:-1]:
        t = as_class_numbers(t)
        # A comparison with an iota instead of a gather, whose transpose would be a scatter.
        classes = jax.lax.broadcasted_iota(t.dtype, z.shape, z.ndim - 1)
        is_target = classes == jnp.broadcast_to(jnp.expand_dims(t, -1), z.shape)
        log_p = log_softmax(z)  # subtracts a common offset of the logits first
        log_likelihood = jnp.sum(jnp.where(is_target, log_p, 0), axis=-1)
        if not _is_zero(smoothing):
            rate = broadcast_setting("smoothing", smoothing, log_likelihood)
            change = jnp.mean(log_p, axis=-1) - log_likelihood
            # A traced rate of 0 must ignore a class masked by -inf, as the Python number 0 does. If the
            # target is such a class, its loss is infinite whatever the others are.
            is_irrelevant = (rate == 0) & ~jnp.isfinite(change) | (log_likelihood == -jnp.inf)
            log_likelihood += rate * jnp.where(is_irrelevant, 0, change)
        values = -log_likelihood
        return jnp.mean(jnp.where((t >= 0) & (t < z.shape[-1]), values, jnp.nan))
    if t.shape != z.shape or not jnp.issubdtype(t.dtype, jnp.floating):
        raise ValueError(
            "cross_entropy expects logits [..., classes] and integer targets [...] or probabilities "
            f"[..., classes], got logits of shape {z.shape} and a {t.dtype} target of shape {t.shape} "
            "for one example. One-hot rows must be floating, y.astype(float); class numbers must be "
            "integers, y.astype(int), without an axis of their own, y[:, 0]."
        )
    t = t.astype(z.dtype)
    if not _is_zero(smoothing):
        t = optax.losses.smooth_labels(t, broadcast_setting("smoothing", smoothing, t))
    return jnp.mean(-jnp.sum(_times(t, log_softmax(z)), axis=-1))


def _times(probability: Array, log_p: Array) -> Array:
    """t·log p, which is 0 for t = 0 also if log p is infinite, as of a class that is masked by -inf."""
    return probability * jnp.where((probability == 0) & jnp.isinf(log_p), 0, log_p)


def _is_zero(smoothing: ArrayLike) -> bool:
    """Whether smoothing is the Python number 0, so that the program can leave it out."""
    return isinstance(smoothing, int | float) and smoothing == 0

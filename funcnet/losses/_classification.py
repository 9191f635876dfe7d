"""Losses of classes, on logits."""

import jax
import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._compare import class_numbers, floating, pair, setting
from funcnet._types import ArrayLike, Scalar


def binary_cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """Minus the log-likelihood of a target in {0, 1} under p = sigmoid(logit), fused and stable.

    Args:
        logits: any shape; log-odds of class 1, averaged over the entries.
        target: the same shape, 0 or 1 (any dtype) or a probability in between.
        smoothing: how far targets are drawn to 1/2, at least 0 and below 1: t·(1 - s) + s/2. It may be
            traced.

    Returns:
        A scalar in nats. NaN for a target outside [0, 1].

    Raises:
        ValueError: if the shapes differ, or smoothing is out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.binary_cross_entropy(jnp.array(0.0), jnp.array(1))), 4)
        0.6931

    Source: Cox, "The regression analysis of binary sequences", 1958; smoothing: Szegedy et al.,
    "Rethinking the Inception architecture for computer vision", 2016.
    """
    _check.setting("smoothing", smoothing, 0, 1, low_included=True)
    z, t = pair("binary_cross_entropy", logits, target)
    smoothed = t if _off(smoothing) else t + (0.5 - t) * setting("smoothing", smoothing, t)
    each = optax.losses.sigmoid_binary_cross_entropy(z, smoothed)
    return jnp.mean(jnp.where((t >= 0) & (t <= 1), each, jnp.nan))


def multilabel_cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """Binary cross-entropy of each label by itself, averaged: for labels that don't exclude each other.

    Args:
        logits: [..., labels]; log-odds of each label.
        target: the same shape: 1 for each label that holds, else 0; or probabilities.
        smoothing: as for `binary_cross_entropy`.

    Returns:
        A scalar in nats for each label. NaN for a target outside [0, 1].

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
            "multilabel_cross_entropy wants a logit and a 0 or 1 for each label; got logits of shape "
            f"{jnp.shape(logits)} and a target of shape {jnp.shape(target)} for one example. If exactly "
            "one class holds, use cross_entropy; for one yes or no, binary_cross_entropy."
        )
    return binary_cross_entropy(logits, target, smoothing=smoothing)


def cross_entropy(logits: ArrayLike, target: ArrayLike, *, smoothing: ArrayLike = 0.0) -> Scalar:
    """Minus the log-likelihood of the target class under softmax(logits), fused and stable.

    Args:
        logits: [..., classes]; leading axes (positions of a sequence) are averaged.
        target: integers [...] in 0 .. classes-1, or probabilities [..., classes] (one-hot).
        smoothing: the share of each target that is spread evenly over all classes, at least 0 and
            below 1. It may be traced.

    Returns:
        A scalar in nats. NaN for an integer out of range.

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
    _check.setting("smoothing", smoothing, 0, 1, low_included=True)
    z = floating(logits)
    t = jnp.asarray(target)
    if not z.ndim or z.shape[-1] == 1:
        raise ValueError(
            "cross_entropy wants a logit for each class; got one, which has nothing to choose from. "
            "Two classes with a single logit: use binary_cross_entropy."
        )
    if jnp.issubdtype(t.dtype, jnp.integer) and t.shape == z.shape[:-1]:
        t = class_numbers(t)
        # Comparing with an iota instead of gathering: its transpose is no scatter.
        classes = jax.lax.broadcasted_iota(t.dtype, z.shape, z.ndim - 1)
        chosen = classes == jnp.broadcast_to(jnp.expand_dims(t, -1), z.shape)
        log_p = jax.nn.log_softmax(z, axis=-1)  # a common offset of the logits is taken off first
        aim = jnp.sum(jnp.where(chosen, log_p, 0), axis=-1)
        if not _off(smoothing):
            share, change = setting("smoothing", smoothing, aim), jnp.mean(log_p, axis=-1) - aim
            # A traced share of 0 takes nothing from a class masked by -inf, as the plain 0 does.
            aim += share * jnp.where((share == 0) & ~jnp.isfinite(change), 0, change)
        each = -aim
        return jnp.mean(jnp.where((t >= 0) & (t < z.shape[-1]), each, jnp.nan))
    if t.shape != z.shape or not jnp.issubdtype(t.dtype, jnp.floating):
        raise ValueError(
            "cross_entropy wants logits [..., classes] and integer targets [...] or probabilities "
            f"[..., classes]; got logits of shape {z.shape} and a {t.dtype} target of shape {t.shape} "
            "for one example. One-hot rows are floating, y.astype(float); class numbers are whole, "
            "y.astype(int), without an axis of their own, y[:, 0]."
        )
    t = t.astype(z.dtype)
    if not _off(smoothing):
        t = optax.losses.smooth_labels(t, setting("smoothing", smoothing, t))
    # optax's 0·(-inf) is not a number where the logit of an impossible class is masked by -inf.
    log_p = jax.nn.log_softmax(z, axis=-1)
    return jnp.mean(-jnp.sum(t * jnp.where((t == 0) & jnp.isinf(log_p), 0, log_p), axis=-1))


def _off(smoothing: ArrayLike) -> bool:
    """Whether smoothing is the plain number 0, which leaves no trace in the program."""
    return isinstance(smoothing, int | float) and smoothing == 0

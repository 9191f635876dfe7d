"""Losses of two classes that depend on the margin of an example."""

import functools

import jax
import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._compare import broadcast_setting, correct, keep_digits, pair
from funcnet._types import Array, ArrayLike, Scalar


@keep_digits
def hinge(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """The hinge loss max(0, 1 - s·z) with s = 1 for class 1 and -1 for class 0, averaged over the entries.

    Classes are 0 and 1 as everywhere in funcnet; convert targets of -1 and 1 by `(y + 1) // 2`.

    Args:
        logits: any shape; above 0 for class 1.
        target: the same shape, 0 or 1.

    Returns:
        A scalar. NaN for a target other than 0 and 1.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.hinge(jnp.array(0.25), jnp.array(1)))
        0.75
        >>> float(fn.losses.hinge(jnp.array(-2.0), jnp.array(0)))
        0.0

    Source: Cortes, Vapnik, "Support-vector networks", 1995.
    """
    z, t = pair("hinge", logits, target)
    return jnp.mean(_nan_unless_binary(t, optax.losses.hinge_loss(z, 2 * t - 1)))


@keep_digits
def focal(
    logits: ArrayLike, target: ArrayLike, *, gamma: ArrayLike = 2.0, alpha: ArrayLike | None = None
) -> Scalar:
    """Binary cross-entropy that down-weights easy examples: (1 - p)^gamma · -log p of the true class.

    Args:
        logits: any shape; log-odds of class 1. The loss is averaged over the entries.
        target: the same shape, 0 or 1.
        gamma: the exponent, at least 0; 0 is cross-entropy. It may be traced.
        alpha: the weight of class 1, between 0 and 1; class 0 has the weight 1 - alpha. If None, both have
            the weight 1. It may be traced.

    Returns:
        A scalar in nats, weighted. NaN for a target other than 0 and 1.

    Raises:
        ValueError: if the shapes differ, or gamma or alpha is out of range.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.focal(jnp.array(0.0), jnp.array(1))), 4)  # a quarter of log 2
        0.1733

    Source: Lin, Goyal, Girshick, He, Dollár, "Focal loss for dense object detection", 2017.
    """
    gamma = _check.setting("gamma", gamma, 0, float("inf"), low_included=True)
    z, t = pair("focal", logits, target)
    exponent = broadcast_setting("gamma", gamma, z)
    margin = jnp.where(t == 1, z, -z)
    # Of infinite margins the formula would be 0·inf. Beyond 1e18 it is 0 if the sign is right, else |z|.
    is_certain = jnp.abs(margin) > 1e18
    ordinary = jnp.where(is_certain, 0, margin)
    focused = -jax.nn.log_sigmoid(ordinary) * jnp.exp(exponent * jax.nn.log_sigmoid(-ordinary))
    values = jnp.where(is_certain, jnp.maximum(-margin, 0), focused)
    if alpha is not None:
        alpha = _check.setting("alpha", alpha, 0, 1)
        weight = broadcast_setting("alpha", alpha, z)
        values *= jnp.where(t == 1, weight, 1 - weight)
    return jnp.mean(_nan_unless_binary(t, values))


@functools.partial(keep_digits, of_classes=True)
def zero_one(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """1 if the predicted class is wrong, else 0: `1 - fn.metrics.accuracy`.

    Its gradient is 0, so it can measure a classifier but not train one.

    Args:
        prediction: logits, as for `fn.metrics.accuracy`.
        target: integers [...], 0/1 of the prediction's shape, or floating one-hot rows.

    Returns:
        A scalar in [0, 1]: the fraction of this example's targets that are predicted wrongly.

    Raises:
        ValueError: if the shapes match none of these.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.zero_one(jnp.array([0.1, 2.0, -1.0]), jnp.array(0)))
        1.0
    """
    return jnp.mean(1 - correct("zero_one", prediction, target))


def _nan_unless_binary(target: Array, values: Array) -> Array:
    """The values, NaN where the target is neither 0 nor 1."""
    return jnp.where((target == 0) | (target == 1), values, jnp.nan)

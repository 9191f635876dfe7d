"""Losses of two classes that weigh examples by how far they are on the right side."""

import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._compare import pair, right, setting
from funcnet._types import Array, ArrayLike, Scalar


def hinge(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """The hinge loss max(0, 1 - s·z) with s = 1 for class 1 and -1 for class 0, averaged over the entries.

    Classes are 0 and 1 as everywhere in funcnet; targets of -1 and 1 become that by `(y + 1) // 2`.

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
    return jnp.mean(_of_bits(t, optax.losses.hinge_loss(z, 2 * t - 1)))


def focal(
    logits: ArrayLike, target: ArrayLike, *, gamma: ArrayLike = 2.0, alpha: ArrayLike | None = None
) -> Scalar:
    """Binary cross-entropy that counts easy examples less: (1 - p)^gamma · -log p of the true class.

    Args:
        logits: any shape; log-odds of class 1, averaged over the entries.
        target: the same shape, 0 or 1.
        gamma: how much less, at least 0; 0 is plain cross-entropy. It may be traced.
        alpha: what class 1 counts, between 0 and 1, and class 0 counts 1 - alpha; None counts both
            fully. It may be traced.

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
    _check.setting("gamma", gamma, 0, float("inf"), low_included=True)
    z, t = pair("focal", logits, target)
    each = optax.losses.sigmoid_focal_loss(z, t, gamma=setting("gamma", gamma, z))
    if alpha is not None:
        _check.setting("alpha", alpha, 0, 1)
        share = setting("alpha", alpha, z)
        each *= jnp.where(t == 1, share, 1 - share)
    return jnp.mean(_of_bits(t, each))


def zero_one(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """Whether the predicted class is wrong: 1 or 0 for one example, `1 - fn.metrics.accuracy`.

    What classifiers are judged by. Its gradient is 0, so nothing is learned from it.

    Args:
        prediction: logits, as for `fn.metrics.accuracy`.
        target: integers [...], 0/1 of the prediction's shape, or floating one-hot rows.

    Returns:
        A scalar in [0, 1]: the part of this example's targets that is wrong.

    Raises:
        ValueError: if the shapes fit none of these.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.zero_one(jnp.array([0.1, 2.0, -1.0]), jnp.array(0)))
        1.0
    """
    return jnp.mean(1 - right("zero_one", prediction, target))


def _of_bits(target: Array, values: Array) -> Array:
    return jnp.where((target == 0) | (target == 1), values, jnp.nan)

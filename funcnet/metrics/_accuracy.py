"""How often the class, or one of the likeliest, is right."""

from typing import Any

import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import class_numbers, right
from funcnet._types import ArrayLike, PerExample, Scalar


def accuracy(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """Whether the predicted class is the target's: 1 or 0 for one example.

    Args:
        prediction: logits; [..., classes] for several classes, where the largest is predicted, or
            the target's shape for two classes, where a logit above 0 predicts class 1. Whole numbers of
            the target's shape are taken for classes already predicted.
        target: integers [...], 0/1 of the prediction's shape, or floating one-hot rows
            [..., classes].

    Returns:
        A scalar in [0, 1]: the part of this example's targets that is right; logits of which one is NaN
        never are. NaN for a target that is no class, and inside jit for floating rows that don't add up
        to 1.

    Raises:
        ValueError: if the shapes fit none of these, or a floating row does not add up to 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.accuracy(jnp.array([0.1, 2.0, -1.0]), jnp.array(1)))
        1.0
        >>> float(fn.metrics.accuracy(jnp.array(-0.3), jnp.array(1)))
        0.0
    """
    return jnp.mean(right("accuracy", prediction, target))


def top_k(k: int) -> PerExample:
    """Whether the target's class is among the k likeliest: a metric, 1 or 0 for one example.

    Of equal logits the first counts as likelier, as in `accuracy`: `top_k(1)` is `accuracy`.

    Args:
        k: how many, at least 1 and below the number of classes.

    Returns:
        A function `(logits [..., classes], integers [...]) -> scalar`.

    Raises:
        TypeError: if k is no whole number.
        ValueError: if k is below 1; later, if there are no more than k classes, or the shapes don't fit.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, top_2 = jnp.array([0.1, 2.0, -1.0, 0.5]), fn.metrics.top_k(2)
        >>> float(top_2(logits, jnp.array(3))), float(top_2(logits, jnp.array(0)))
        (1.0, 0.0)

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012.
    """
    _check.positive("k", k)

    def among_k(prediction: Any, target: Any) -> Scalar:
        z, t = jnp.asarray(prediction), jnp.asarray(target)
        if t.shape != z.shape[:-1] or not z.ndim or not jnp.issubdtype(t.dtype, jnp.integer):
            raise ValueError(
                "top_k wants logits [..., classes] and integer targets [...]; got logits of shape "
                f"{z.shape} and a {t.dtype} target of shape {t.shape} for one example."
            )
        if k >= z.shape[-1]:
            raise ValueError(f"top_k({k}) of {z.shape[-1]} classes is always 1. Choose a smaller k.")
        t = class_numbers(t)
        number = jnp.broadcast_to(jnp.arange(z.shape[-1], dtype=t.dtype), z.shape)
        target_number = jnp.broadcast_to(t[..., None], z.shape)
        own = jnp.sum(jnp.where(number == target_number, z, 0), axis=-1, keepdims=True)
        own = jnp.broadcast_to(own, z.shape)
        before = ~((z < own) | ((z == own) & (number >= target_number)))  # NaN comes before
        known = (t >= 0) & (t < z.shape[-1])
        return jnp.mean((known & (jnp.sum(before, axis=-1) < k)).astype(float))

    return among_k

"""How often the predicted class, or one of the k most likely, is correct."""

import functools
from typing import Any

import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import as_class_numbers, correct, keep_digits
from funcnet._types import ArrayLike, PerExample, Scalar


@functools.partial(keep_digits, of_classes=True)
def accuracy(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """1 if the predicted class is the target's, else 0.

    Args:
        prediction: logits: [..., classes] for several classes, where the largest is predicted, or the
            target's shape for two classes, where a logit above 0 predicts class 1. Integers of the target's
            shape are taken as predicted classes.
        target: integers [...], 0/1 of the prediction's shape, or floating one-hot rows
            [..., classes].

    Returns:
        A scalar in [0, 1]: the fraction of this example's targets that are predicted correctly. Logits with
        a NaN are never correct. NaN for a target that is not a class, and inside jit for floating rows that
        don't add up to 1.

    Raises:
        ValueError: if the shapes match none of these, or a floating row does not add up to 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.accuracy(jnp.array([0.1, 2.0, -1.0]), jnp.array(1)))
        1.0
        >>> float(fn.metrics.accuracy(jnp.array(-0.3), jnp.array(1)))
        0.0
    """
    return jnp.mean(correct("accuracy", prediction, target))


@_check.usage_of_metric("top_k(5)")
def top_k(k: int) -> PerExample:
    """A metric that is 1 if the target's class is among the k most likely, else 0.

    Of equal logits the first ranks higher, as in `accuracy`: `top_k(1)` is `accuracy`.

    Args:
        k: the number of classes, at least 1 and below that of all classes.

    Returns:
        A function `(logits [..., classes], integers [...]) -> scalar`. NaN for a target that is not a
        class.

    Raises:
        TypeError: if k is not an integer.
        ValueError: if k is below 1; when called, if there are at most k classes, or the shapes don't match.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, top_2 = jnp.array([0.1, 2.0, -1.0, 0.5]), fn.metrics.top_k(2)
        >>> float(top_2(logits, jnp.array(3))), float(top_2(logits, jnp.array(0)))
        (1.0, 0.0)

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012.
    """
    k = _check.positive("k", k)

    @functools.partial(keep_digits, of_classes=True)
    def top_k_accuracy(prediction: Any, target: Any) -> Scalar:
        z, t = jnp.asarray(prediction), jnp.asarray(target)
        if t.shape != z.shape[:-1] or not z.ndim or not jnp.issubdtype(t.dtype, jnp.integer):
            raise ValueError(
                "top_k expects logits [..., classes] and integer targets [...], got logits of shape "
                f"{z.shape} and a {t.dtype} target of shape {t.shape} for one example."
            )
        if k >= z.shape[-1]:
            raise ValueError(
                f"k must be below the number of classes, {z.shape[-1]}, got {k}: top_k would always be 1."
            )
        t = as_class_numbers(t)
        number = jnp.broadcast_to(jnp.arange(z.shape[-1], dtype=t.dtype), z.shape)
        target_number = jnp.broadcast_to(t[..., None], z.shape)
        target_logit = jnp.sum(jnp.where(number == target_number, z, 0), axis=-1, keepdims=True)
        target_logit = jnp.broadcast_to(target_logit, z.shape)
        # NaN ranks higher than any number.
        ranks_higher = ~((z < target_logit) | ((z == target_logit) & (number >= target_number)))
        is_class = (t >= 0) & (t < z.shape[-1])
        is_found = (jnp.sum(ranks_higher, axis=-1) < k).astype(float)
        return jnp.mean(jnp.where(is_class, is_found, jnp.nan))

    return top_k_accuracy

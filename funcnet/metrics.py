"""Metrics of one example: `f(prediction, target) -> scalar`, averaged by weight like the loss."""

import jax.numpy as jnp

from funcnet import _check
from funcnet._types import ArrayLike, Scalar


def accuracy(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """Whether the predicted class is the target's: 1 or 0 for one example.

    Args:
        prediction: logits; [..., classes] for several classes, where the largest is predicted, or
            the target's shape for two classes, where a logit above 0 predicts class 1.
        target: integers [...], 0/1 of the prediction's shape, or floating one-hot rows
            [..., classes].

    Returns:
        A scalar in [0, 1]: the part of this example's targets that is right.

    Raises:
        ValueError: if the shapes fit none of these.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.accuracy(jnp.array([0.1, 2.0, -1.0]), jnp.array(1)))
        1.0
        >>> float(fn.metrics.accuracy(jnp.array(-0.3), jnp.array(1)))
        0.0
    """
    z, t = jnp.asarray(prediction), jnp.asarray(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        right = jnp.argmax(z, axis=-1).astype(t.dtype) == t
    elif z.shape == t.shape and z.ndim and z.shape[-1] > 1 and jnp.issubdtype(t.dtype, jnp.floating):
        right = jnp.argmax(z, axis=-1) == jnp.argmax(t, axis=-1)
    else:
        _check.equal_shapes("accuracy", z, t)
        right = (z > 0) == (t > 0)
    return jnp.mean(right.astype(float))


def absolute_error(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """The absolute error |p - t|, averaged over the entries of one example.

    Args:
        prediction: any shape, in units u.
        target: the same shape.

    Returns:
        A scalar in u.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.metrics.absolute_error(jnp.array(1.0), jnp.array(3.0)))
        2.0
    """
    _check.equal_shapes("absolute_error", prediction, target)
    p = jnp.asarray(prediction)
    return jnp.mean(jnp.abs(p - jnp.asarray(target).astype(p.dtype)))

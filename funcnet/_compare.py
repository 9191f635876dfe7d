"""Comparison of a prediction with a target: functions that losses and metrics share."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, ArrayLike, Scalar


def absolute_error(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """The absolute error |p - t|, averaged over the entries of one example. A loss and a metric.

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
        >>> float(fn.losses.absolute_error(jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])))
        1.0

    Source: Boscovich, "De litteraria expeditione per pontificiam ditionem", 1757.
    """
    p, t = pair("absolute_error", prediction, target)
    return jnp.mean(jnp.abs(p - t))


def pair(what: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    """Prediction and target in one floating dtype, after a check that their shapes are equal."""
    _check.equal_shapes(what, prediction, target)
    p = as_floating(prediction)
    return p, _integers_as_float(target).astype(p.dtype)


def as_floating(values: ArrayLike) -> Array:
    """Convert to floats of at least 32 bits: half precision would round targets and sums over rows."""
    array = _integers_as_float(values)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(float)
    return array if array.dtype.itemsize >= 4 else array.astype(jnp.float32)


def _integers_as_float(values: ArrayLike) -> Array:
    """An array; NumPy's 64-bit integers become floats before JAX would keep only their last 32 bits."""
    wide = isinstance(values, np.ndarray | np.integer) and values.dtype.kind in "iu"
    return jnp.asarray(values, float) if wide else jnp.asarray(values)


def as_class_numbers(labels: ArrayLike) -> Array:
    """Convert labels to at least 32 bits, so that any number of classes fits: 256 overflows uint8."""
    _check.fits_int32("target", labels, "Number classes from 0.")
    t = jnp.asarray(labels)
    if t.dtype.itemsize >= 4:
        return t
    return t.astype(jnp.float32 if jnp.issubdtype(t.dtype, jnp.floating) else jnp.int32)


def broadcast_setting(name: str, value: Any, like: Array) -> Array:
    """Broadcast a setting of a loss, one number or one for each entry, to the shape of the entries."""
    if jnp.shape(value) not in ((), like.shape):
        raise ValueError(
            f"{name} must be one number, or one for each entry of the prediction, got shape "
            f"{jnp.shape(value)} for a prediction of shape {like.shape}."
        )
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape)


def correct(what: str, prediction: ArrayLike, target: ArrayLike) -> Array:
    """1 where the predicted class is the target's, else 0, for each target.

    Logits with a NaN are never correct. Integers of the target's shape are taken as predicted classes. The
    result is NaN for targets that are not a class, and for one-hot rows that don't add up to 1.
    """
    _check.fits_int32("prediction", prediction, "Number classes from 0.")
    z, t = jnp.asarray(prediction), as_class_numbers(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        same = jnp.argmax(z, axis=-1).astype(t.dtype) == t
        is_class = (t >= 0) & (t < z.shape[-1])
        return jnp.where(is_class, (same & ~jnp.isnan(z).any(axis=-1)).astype(float), jnp.nan)
    if is_one_hot(z, t):
        same = (jnp.argmax(z, axis=-1) == jnp.argmax(t, axis=-1)) & ~jnp.isnan(z).any(axis=-1)
        return jnp.where(sums_to_one(what, t), same.astype(float), jnp.nan)
    _check.equal_shapes(what, z, t)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        return (as_class_numbers(z) == t.astype(as_class_numbers(z).dtype)).astype(float)
    same = ((z > 0) == (as_floating(t) > 0.5)) & ~jnp.isnan(z)
    return jnp.where((t >= 0) & (t <= 1), same.astype(float), jnp.nan)


def is_one_hot(z: Array, t: Array) -> bool:
    """Whether targets are floating rows over the classes, rather than 0 or 1 for each entry."""
    return bool(z.shape == t.shape and z.ndim and z.shape[-1] > 1 and jnp.issubdtype(t.dtype, jnp.floating))


def sums_to_one(what: str, rows: Array) -> Array:
    """Whether each row over the classes adds up to 1. Raises if rows are concrete and one does not."""
    is_one = jnp.abs(jnp.sum(as_floating(rows), axis=-1) - 1) < 0.01
    if _tree.is_concrete(is_one) and not is_one.all():
        row = rows[~is_one][0]
        raise ValueError(
            f"{what} takes floating targets of the logits' shape as one-hot rows, adding up to 1, got "
            f"{row.tolist()}. If an example may have several labels, they must be integers: y.astype(int)."
        )
    return is_one

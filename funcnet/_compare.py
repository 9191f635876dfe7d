"""How a prediction is held against a target: what losses and metrics share."""

from typing import Any

import jax.numpy as jnp

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
    """Prediction and target of one shape and one floating dtype, `floating`'s of the prediction."""
    _check.equal_shapes(what, prediction, target)
    p = floating(prediction)
    return p, jnp.asarray(target).astype(p.dtype)


def floating(values: ArrayLike) -> Array:
    """Floats of at least 32 bits: half precision would round targets, and sums over rows."""
    array = jnp.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(float)
    return array if array.dtype.itemsize >= 4 else array.astype(jnp.float32)


def class_numbers(labels: ArrayLike) -> Array:
    """Labels of at least 32 bits, which can be held against any number of classes: 256 is no uint8."""
    t = jnp.asarray(labels)
    if t.dtype.itemsize >= 4:
        return t
    return t.astype(jnp.float32 if jnp.issubdtype(t.dtype, jnp.floating) else jnp.int32)


def setting(name: str, value: Any, like: Array) -> Array:
    """A loss's setting, one number or one for each entry, spread over the entries."""
    if jnp.shape(value) not in ((), like.shape):
        raise ValueError(
            f"{name} is one number, or one for each entry of the prediction; got shape "
            f"{jnp.shape(value)} for a prediction of shape {like.shape}."
        )
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape)


def right(what: str, prediction: ArrayLike, target: ArrayLike) -> Array:
    """1 where the target's class is the predicted one, else 0, for each target.

    Logits of which one is NaN predict nothing. Whole numbers of the target's shape are predicted classes
    themselves. NaN for targets that are no class, and for one-hot rows that don't add up to 1.
    """
    z, t = jnp.asarray(prediction), class_numbers(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        same = jnp.argmax(z, axis=-1).astype(t.dtype) == t
        known = (t >= 0) & (t < z.shape[-1])
        return jnp.where(known, (same & ~jnp.isnan(z).any(axis=-1)).astype(float), jnp.nan)
    if one_hot_rows(z, t):
        same = (jnp.argmax(z, axis=-1) == jnp.argmax(t, axis=-1)) & ~jnp.isnan(z).any(axis=-1)
        return jnp.where(add_up(what, t), same.astype(float), jnp.nan)
    _check.equal_shapes(what, z, t)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        return (class_numbers(z) == t.astype(class_numbers(z).dtype)).astype(float)
    same = ((z > 0) == (floating(t) > 0.5)) & ~jnp.isnan(z)
    return jnp.where((t >= 0) & (t <= 1), same.astype(float), jnp.nan)


def one_hot_rows(z: Array, t: Array) -> bool:
    """Whether targets of the logits' shape are floating rows over the classes, not 0/1 for each entry."""
    return bool(z.shape == t.shape and z.ndim and z.shape[-1] > 1 and jnp.issubdtype(t.dtype, jnp.floating))


def add_up(what: str, rows: Array) -> Array:
    """Whether rows over the classes add up to 1 each. Concrete ones that don't are an error."""
    known = jnp.abs(jnp.sum(floating(rows), axis=-1) - 1) < 0.01
    if _tree.is_concrete(known) and not known.all():
        row = rows[~known][0]
        raise ValueError(
            f"{what} takes floating targets of the logits' shape as one-hot rows, which add up to 1; got "
            f"{row.tolist()}. Several labels an example are whole numbers: y.astype(int)."
        )
    return known

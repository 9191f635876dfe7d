"""Comparison of a prediction with a target: functions that losses and metrics share."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, ArrayLike, Scalar

F = TypeVar("F", bound=Callable[..., Any])


def keep_digits(function: F, *, of_classes: bool = False) -> F:
    """Let a function of a prediction and a target take whatever holds numbers, and keep all digits.

    NumPy's float64, and integers that float32 would round, are computed with in float64, and the value is
    rounded once: in float32 the times 1.7e9 and 1.7e9 + 0.5 are equal. JAX's floating arrays are computed
    in their dtype, and again in float64 if a step of that is infinite. Under jit, all is in its dtype.

    `of_classes`: whether integer targets are class numbers, which must fit in JAX's integers.
    """
    names = list(inspect.signature(function).parameters)[:2]
    what, is_metric = function.__name__, ".metrics." in function.__module__
    metric, loss = f"fn.metrics.measure(fn.metrics.{what}, predictions, targets)", f"fn.losses.{what}"
    code = metric if is_metric else f"fn.losses.supervised({loss})"

    def convert(name: str, value: Any) -> Any:
        array = as_array(what, name, value)
        if not of_classes:
            return np.asarray(array, np.float64) if has_wide_integers(array) else array
        if name == "target":
            _check.fits_int32(name, array, "Number classes from 0.")
        return array

    @functools.wraps(function)
    def compute(*args: Any, **settings: Any) -> Any:
        arrays = [convert(name, value) for name, value in zip(names, args, strict=False)]
        named = {name: convert(name, settings[name]) for name in names if name in settings}
        args, settings = (*arrays, *args[2:]), {**settings, **named}
        is_concrete = _tree.is_concrete((args, settings))
        if is_concrete and any(map(is_float64, (*arrays, *named.values()))):
            return in_float64(function, *args, **settings)
        try:
            value = function(*args, **settings)
        except TypeError:
            _check.explain_mismatch(function, args, settings, code)
            raise
        return in_float64(function, *args, **settings) if is_concrete and overflows(value) else value

    compute.keeps_digits = True  # type: ignore[attr-defined]
    return compute  # type: ignore[return-value]


def as_array(what: str, name: str, value: Any) -> Any:
    """An array of whatever holds numbers, the argument `name` of a loss or metric; it is not empty."""
    array = _check.array(f"the {name} of {what}", value)
    if not array.size:
        raise ValueError(f"the {name} of {what} must have at least one entry, got shape {array.shape}.")
    return array


def is_float64(array: Any) -> bool:
    """Whether an array is NumPy's and in float64, which JAX would narrow to float32."""
    return isinstance(array, np.ndarray) and array.dtype == np.float64


def has_wide_integers(array: Any) -> bool:
    """Whether an array is concrete and holds integers that float32 would round."""
    if isinstance(array, jax.core.Tracer) or not jnp.issubdtype(array.dtype, jnp.integer):
        return False
    values = np.asarray(array)
    return (
        values.dtype.itemsize >= 4 and values.size > 0 and bool(np.abs(values.astype(float)).max() > 2**24)
    )


def overflows(value: Array) -> bool:
    """Whether a concrete value is infinite or NaN, and may be neither in float64."""
    return _tree.is_concrete(value) and not bool(jnp.isfinite(value).all())


def in_float64(function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """Call a function of concrete arrays in float64; its floating values are rounded to float32.

    They stay float64 if jax_enable_x64 is set. Within jit it is called now, and its values are constants.
    """
    if jax.config.read("jax_enable_x64"):
        return function(*args, **settings)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        is_array = {name: isinstance(v, jax.Array | np.ndarray) for name, v in settings.items()}
        is_narrow = {name: is_array[name] and v.dtype == np.float32 for name, v in settings.items()}
        wide = {name: _as_float64(v) if is_narrow[name] else v for name, v in settings.items()}
        values = function(*jax.tree.map(_as_float64, args), **wide)
        return jax.tree.map(lambda v: v.astype(jnp.float32) if v.dtype == jnp.float64 else v, values)


def _as_float64(value: Any) -> Any:
    return jnp.asarray(value, float) if jnp.issubdtype(jnp.result_type(value), jnp.floating) else value


@keep_digits
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
    prediction = as_array(what, "prediction", prediction)
    target = as_array(what, "target", target)
    _check.equal_shapes(what, prediction, target)
    p = as_floating(prediction)
    return p, integers_as_float(target).astype(p.dtype)


def as_floating(values: ArrayLike) -> Array:
    """Convert to floats of at least 32 bits: half precision would round targets and sums over rows."""
    array = integers_as_float(values)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(float)
    return array if array.dtype.itemsize >= 4 else array.astype(jnp.float32)


def integers_as_float(values: ArrayLike) -> Array:
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


def log_softmax(logits: Array) -> Array:
    """log softmax over the last axis.

    A class whose logit is infinite has probability 1; several such classes give NaN.
    """
    shifted, total = _shifted_exponentials(logits)
    return shifted - jnp.log(total)


def softmax(logits: Array) -> Array:
    """softmax over the last axis, with infinite logits as in `log_softmax`."""
    shifted, total = _shifted_exponentials(logits)
    return jnp.exp(shifted) / total


def _shifted_exponentials(logits: Array) -> tuple[Array, Array]:
    """The logits minus the largest one, and the sum of their exponentials, with a last axis of 1."""
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    is_infinite = logits == jnp.inf
    shifted = jnp.where(is_infinite, 0, logits - largest)  # inf - inf is NaN
    total = jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True)
    return shifted, jnp.where((largest == jnp.inf) & (total > 1), jnp.nan, total)


def broadcast_setting(name: str, value: Any, like: Array) -> Array:
    """Broadcast a setting of a loss, one number or one for each entry, to the shape of the entries."""
    value = _check.array(name, value)
    if value.shape not in ((), like.shape):
        raise ValueError(
            f"{name} must be one number, or one for each entry of the prediction, got shape "
            f"{value.shape} for a prediction of shape {like.shape}."
        )
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape)


def correct(what: str, prediction: ArrayLike, target: ArrayLike) -> Array:
    """1 where the predicted class is the target's, else 0, for each target.

    Logits with a NaN are never correct. Integers of the target's shape are taken as predicted classes. The
    result is NaN for targets that are not a class, and for one-hot rows that don't add up to 1.
    """
    prediction = as_array(what, "prediction", prediction)
    target = as_array(what, "target", target)
    _check.fits_int32("prediction", prediction, "Number classes from 0.")
    z, t = jnp.asarray(prediction), as_class_numbers(target)
    if t.shape == z.shape[:-1] and z.ndim > t.ndim and z.shape[-1] > 1:
        same = jnp.argmax(z, axis=-1).astype(t.dtype) == t
        is_class = is_class_number(t, z.shape[-1])
        return jnp.where(is_class, (same & ~jnp.isnan(z).any(axis=-1)).astype(float), jnp.nan)
    if is_one_hot(z, t):
        same = (jnp.argmax(z, axis=-1) == jnp.argmax(t, axis=-1)) & ~jnp.isnan(z).any(axis=-1)
        return jnp.where(sums_to_one(what, t), same.astype(float), jnp.nan)
    _check.equal_shapes(what, z, t)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        return _same_class(as_class_numbers(z), t)
    same = ((z > 0) == (as_floating(t) > 0.5)) & ~jnp.isnan(z)
    return jnp.where((t >= 0) & (t <= 1), same.astype(float), jnp.nan)


def is_class_number(target: Array, classes: int) -> Array:
    """Whether each target is one of the numbers of the classes: 0.5 is not."""
    is_in_range = (target >= 0) & (target < classes)
    if jnp.issubdtype(target.dtype, jnp.floating):
        return is_in_range & (target == jnp.floor(target))
    return is_in_range


def _same_class(predicted: Array, target: Array) -> Array:
    """1 where class numbers are equal, else 0, without rounding or wrapping one to the other's dtype."""
    if jnp.issubdtype(target.dtype, jnp.floating):
        same = predicted.astype(target.dtype) == target
        return jnp.where(jnp.isnan(target), jnp.nan, same.astype(float))
    same = predicted == target.astype(predicted.dtype)
    if target.dtype != predicted.dtype:  # -1 and 2**32 - 1 have the same bits
        same &= (predicted >= 0) == (target >= 0)
    return same.astype(float)


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

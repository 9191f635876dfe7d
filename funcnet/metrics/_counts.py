"""Metrics computed from counts of predicted and actual classes."""

from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import as_array, as_class_numbers, is_one_hot, sums_to_one
from funcnet._metric import Metric
from funcnet._types import Array

MAX_CLASSES = 2**24  # float32 holds all integers up to here

Average: TypeAlias = Literal["binary", "micro", "macro"] | None
"""Of class 1 only; of the counts of all classes together; the unweighted mean over classes; none."""


@_check.usage_of_metric("precision()")
def precision(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """The fraction of predicted positives that are correct: true positives / predicted positives.

    Args:
        average: "binary" for class 1 of two; "micro" for the counts of all classes together; "macro" for
            the unweighted mean over classes, whether they occur or not; None for one value for each class,
            [classes], named `precision_0`, `precision_1` and so on in a history.
        classes: the number of classes; needed if predictions are class numbers of more than two classes.

    Returns:
        A `Metric` in [0, 1]. Predictions are logits of the target's shape (class 1 above 0; with a last
        axis of labels, an example may have several) or [..., classes]; or class numbers. Targets are
        integers, or floating rows [..., classes] that add up to 1, such as one-hot. A class that is never
        predicted has precision 0 (zero_division=0 in scikit-learn). NaN for a class number out of range,
        and inside jit for rows that don't add up to 1.

    Raises:
        ValueError: if the average is unknown; when called, if shapes or the number of classes don't match.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.array([2.0, 0.5, -1.0, 3.0]), jnp.array([1, 0, 1, 1])
        >>> round(float(fn.metrics.measure(fn.metrics.precision(), logits, target)), 4)
        0.6667

    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    return _ratio("precision", average, classes)


@_check.usage_of_metric("recall()")
def recall(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """The fraction of actual positives that are predicted: true positives / actual positives.

    Args:
        average: as for `precision`.
        classes: as for `precision`.

    Returns:
        A `Metric` in [0, 1], of predictions and targets as for `precision`. A class that does not occur
        has recall 0 (zero_division=0 in scikit-learn).

    Raises:
        ValueError: if the average is unknown; when called, if shapes or the number of classes don't match.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.array([2.0, 0.5, -1.0, 3.0]), jnp.array([1, 0, 1, 1])
        >>> weight = jnp.array([1.0, 1.0, 2.0, 1.0])
        >>> float(fn.metrics.measure(fn.metrics.recall(), logits, target, weight))
        0.5

    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    return _ratio("recall", average, classes)


@_check.usage_of_metric("f1()")
def f1(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """The harmonic mean of precision and recall, 2·tp / (predicted + actual positives).

    Args:
        average: as for `precision`; "macro" is the unweighted mean of the F1 of the classes, which None
            returns.
        classes: as for `precision`.

    Returns:
        A `Metric` in [0, 1], of predictions and targets as for `precision`. A class that neither occurs
        nor is predicted has F1 0 (zero_division=0 in scikit-learn).

    Raises:
        ValueError: if the average is unknown; when called, if shapes or the number of classes don't match.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> f1 = fn.metrics.f1(average="macro", classes=3)
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, f1=f1)
        >>> x, y = jnp.eye(3), jnp.array([0, 1, 1])
        >>> round(float(fn.evaluate(loss, lambda x: 5 * x, (x, y))["f1"]), 4)
        0.5556

    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    return _ratio("f1", average, classes)


@_check.usage_of_metric("confusion_matrix(3)")
def confusion_matrix(classes: int) -> Metric:
    """The total weight of examples by true class (row) and predicted class (column).

    Its value is a matrix, which a history can't hold: compute it by `evaluate` or `measure`.

    Args:
        classes: the number of classes, at least 2.

    Returns:
        A `Metric` of shape [classes, classes], of predictions and targets as for `precision`.

    Raises:
        TypeError: if classes is not an integer.
        ValueError: if there are fewer than 2; when called, if shapes or the number of classes don't match.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> predicted, target = jnp.array([0, 1, 1, 2]), jnp.array([0, 1, 2, 2])
        >>> fn.metrics.measure(fn.metrics.confusion_matrix(3), predicted, target).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    """
    _check_num_classes(classes)
    return Confusion(classes)


class Ratio(Metric):
    """Sums of true positives, predicted positives and actual positives, [3, classes]."""

    keeps_digits: ClassVar[bool] = True
    kind: str
    average: Average
    classes: int | None

    def sums(self, prediction: Any, target: Any) -> Array:
        decisions = classify(self.kind, prediction, target, self.classes, self.average != "binary")
        predicted, actual = decisions.predicted, decisions.actual
        counts = jnp.stack([predicted * actual, predicted, actual])
        counts = counts.reshape(3, -1, counts.shape[-1]).sum(axis=1)
        if self.average != "binary":
            return counts
        if not decisions.exclusive:
            return counts.sum(axis=1, keepdims=True)
        if counts.shape[-1] != 2:
            raise ValueError(
                f'{self.kind} with average="binary" expects two classes, got {counts.shape[-1]}. Try '
                'average="macro" or "micro"; or, if an example may have several labels, integer targets: '
                "y.astype(int)."
            )
        return counts[:, 1:]

    def value(self, sums: Array) -> Array:
        of_each = self.average in ("macro", None)
        true, predicted, actual = sums if of_each else sums.sum(axis=1, keepdims=True)
        if self.kind == "f1":
            numerator, denominator = 2 * true, predicted + actual
        else:
            numerator, denominator = true, predicted if self.kind == "precision" else actual
        is_empty = denominator == 0
        values = jnp.where(is_empty, 0, numerator / jnp.where(is_empty, 1, denominator))
        return values if self.average is None else jnp.mean(values)


class Confusion(Metric):
    keeps_digits: ClassVar[bool] = True
    classes: int

    def sums(self, prediction: Any, target: Any) -> Array:
        decisions = classify("confusion_matrix", prediction, target, self.classes, True)
        actual, predicted = (a.reshape(-1, a.shape[-1]) for a in (decisions.actual, decisions.predicted))
        return actual.T @ predicted

    def value(self, sums: Array) -> Array:
        return sums


class Decisions(NamedTuple):
    """1 where a class is predicted and where it is actual, [..., classes]; whether they are exclusive."""

    predicted: Array
    actual: Array
    exclusive: bool


def classify(
    what: str, prediction: Any, target: Any, classes: int | None, distinguish_classes: bool
) -> Decisions:
    """The predicted and actual classes of one example.

    `distinguish_classes`: whether class numbers are counted by class, rather than class 1 only.
    """
    prediction = as_array(what, "prediction", prediction)
    target = as_array(what, "target", target)
    _check.fits_int32("prediction", prediction, "Number classes from 0.")
    _check.fits_int32("target", target, "Number classes from 0.")
    z, t = jnp.asarray(prediction), jnp.asarray(target)
    if z.shape[:-1] == t.shape and z.ndim > t.ndim and jnp.issubdtype(t.dtype, jnp.integer):
        _check_classes(what, classes, z.shape[-1])
        return Decisions(_one_hot(_argmax(z), z.shape[-1]), _one_hot(t, z.shape[-1]), True)
    _check.equal_shapes(what, z, t)
    if is_one_hot(z, t):
        _check_classes(what, classes, z.shape[-1])
        actual_number = jnp.where(sums_to_one(what, t), jnp.argmax(t, axis=-1), -1)
        return Decisions(_one_hot(_argmax(z), z.shape[-1]), _one_hot(actual_number, z.shape[-1]), True)
    if jnp.issubdtype(z.dtype, jnp.integer) and (classes is not None or distinguish_classes):
        if classes is None:
            raise ValueError(
                f"{what} of class numbers needs the number of classes: {what}(classes=3, ...)."
            )
        return Decisions(_one_hot(z, classes), _one_hot(t, classes), True)
    predicted, actual = _is_positive(z, 0.0), _is_positive(_of_a_class(t), 0.5)
    if z.ndim and (classes is None or classes == z.shape[-1] > 2):
        return Decisions(predicted, actual, False)
    _check_classes(what, classes, 2)
    predicted, actual = (jnp.stack([1 - a, a], axis=-1) for a in (predicted, actual))
    return Decisions(predicted, actual, True)


def _argmax(logits: Array) -> Array:
    """The class of the largest logit; -1, which is not a class, if one is NaN."""
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))


def _one_hot(numbers: Array, classes: int) -> Array:
    """One-hot rows over the classes; NaN if the class is out of range."""
    numbers = as_class_numbers(numbers)
    number = jax.lax.broadcasted_iota(numbers.dtype, (*numbers.shape, classes), numbers.ndim)
    numbers = jnp.broadcast_to(numbers[..., None], number.shape)
    is_class = (numbers >= 0) & (numbers < classes)
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        is_class &= numbers == jnp.floor(numbers)
    return jnp.where(is_class, (number == numbers).astype(float), jnp.nan)


def _of_a_class(targets: Array) -> Array:
    """Targets, with NaN in place of floats outside 0 .. 1, which are neither classes nor probabilities."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return targets
    return jnp.where((targets >= 0) & (targets <= 1), targets, jnp.nan)


def _is_positive(values: Array, threshold: float) -> Array:
    """1 above the threshold, else 0; NaN for what is NaN, and for integers other than 0 and 1."""
    if jnp.issubdtype(values.dtype, jnp.integer):
        return jnp.where((values == 0) | (values == 1), (values > 0).astype(float), jnp.nan)
    return jnp.where(jnp.isnan(values), jnp.nan, (values > threshold).astype(float))


def _check_classes(what: str, classes: int | None, num_predicted: int) -> None:
    if classes is not None and classes != num_predicted:
        raise ValueError(
            f"{what}(classes={classes}) expects {classes} classes, got predictions of {num_predicted}."
        )


def _ratio(kind: str, average: Average, classes: int | None) -> Metric:
    if average is not None:
        _check.choice("average", average, ("binary", "micro", "macro"))
    if classes is not None:
        _check_num_classes(classes)
    return Ratio(kind, average, classes)


def _check_num_classes(classes: int) -> None:
    classes = _check.positive("classes", classes)
    if not 2 <= classes <= MAX_CLASSES:
        raise ValueError(f"classes must be from 2 to {MAX_CLASSES}, got {classes}. Try classes=3.")

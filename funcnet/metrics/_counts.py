"""Metrics made of counts: how often which class was predicted for which."""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import add_up, class_numbers, one_hot_rows
from funcnet._metric import Metric
from funcnet._types import Array

Average: TypeAlias = Literal["binary", "micro", "macro"]
"""Over class 1 alone; over all predictions at once; over classes, each counting the same."""


def precision(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """Of what was predicted to be a class, how much is: true positives / predicted positives.

    Args:
        average: "binary" for class 1 of two; "micro" for all classes' counts together; "macro" for
            the mean over classes, in which each counts the same, occurring or not.
        classes: how many; needed where predictions are class numbers of more than two classes.

    Returns:
        A `Metric` in [0, 1]. Predictions are logits, of the target's shape (class 1 above 0; with an
        axis of labels, several labels an example) or [..., classes]; or class numbers. Targets are whole
        numbers, or floating rows [..., classes] that add up to 1, such as one-hot. A class that was
        never predicted has precision 0 (scikit-learn's zero_division=0). NaN for a class number out of
        range, and inside jit for rows that don't add up to 1.

    Raises:
        ValueError: for an unknown average; later, if shapes or the number of classes don't fit.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.array([2.0, 0.5, -1.0, 3.0]), jnp.array([1, 0, 1, 1])
        >>> round(float(fn.metrics.measure(fn.metrics.precision(), logits, target)), 4)
        0.6667

    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    return _ratio("precision", average, classes)


def recall(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """Of what is of a class, how much was predicted to be: true positives / actual positives.

    Args:
        average: as for `precision`.
        classes: as for `precision`.

    Returns:
        A `Metric` in [0, 1], of predictions and targets as for `precision`. A class that does not occur
        has recall 0 (scikit-learn's zero_division=0).

    Raises:
        ValueError: for an unknown average; later, if shapes or the number of classes don't fit.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.array([2.0, 0.5, -1.0, 3.0]), jnp.array([1, 0, 1, 1])
        >>> weight = jnp.array([1.0, 1.0, 2.0, 1.0])
        >>> float(fn.metrics.measure(fn.metrics.recall(), logits, target, weight))
        0.5

    Source: van Rijsbergen, "Information Retrieval", 1979.
    """
    return _ratio("recall", average, classes)


def f1(*, average: Average = "binary", classes: int | None = None) -> Metric:
    """The harmonic mean of precision and recall, 2·tp / (predicted + actual positives).

    Args:
        average: as for `precision`; "macro" is the mean of the classes' F1.
        classes: as for `precision`.

    Returns:
        A `Metric` in [0, 1], of predictions and targets as for `precision`. A class that neither occurs
        nor was predicted has F1 0 (scikit-learn's zero_division=0).

    Raises:
        ValueError: for an unknown average; later, if shapes or the number of classes don't fit.

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


def confusion_matrix(classes: int) -> Metric:
    """The weight of examples by true class (row) and predicted class (column).

    Its value is no number, so `fit` keeps it out of a history; `evaluate` and `measure` give it.

    Args:
        classes: how many, at least 2.

    Returns:
        A `Metric` of shape [classes, classes], of predictions and targets as for `precision`.

    Raises:
        TypeError: if classes is no whole number.
        ValueError: if there are fewer than 2; later, if shapes or the number of classes don't fit.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> predicted, target = jnp.array([0, 1, 1, 2]), jnp.array([0, 1, 2, 2])
        >>> fn.metrics.measure(fn.metrics.confusion_matrix(3), predicted, target).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    """
    _two_or_more(classes)
    return Confusion(classes)


class Ratio(Metric):
    """Sums of true positives, predicted positives and actual positives, [3, classes]."""

    kind: str
    average: Average
    classes: int | None

    def sums(self, prediction: Any, target: Any) -> Array:
        decided = decisions(self.kind, prediction, target, self.classes, self.average != "binary")
        predicted, actual = decided.predicted, decided.actual
        counts = jnp.stack([predicted * actual, predicted, actual])
        counts = counts.reshape(3, -1, counts.shape[-1]).sum(axis=1)
        if self.average != "binary":
            return counts
        if not decided.exclusive:
            return counts.sum(axis=1, keepdims=True)
        if counts.shape[-1] != 2:
            raise ValueError(
                f'{self.kind} with average="binary" is that of class 1 of two; got {counts.shape[-1]} '
                'classes. Choose average="macro" or "micro"; or for several labels an example targets of '
                "whole numbers, y.astype(int)."
            )
        return counts[:, 1:]

    def value(self, sums: Array) -> Array:
        true, predicted, actual = sums if self.average == "macro" else sums.sum(axis=1, keepdims=True)
        if self.kind == "f1":
            part, whole = 2 * true, predicted + actual
        else:
            part, whole = true, predicted if self.kind == "precision" else actual
        empty = whole == 0
        return jnp.mean(jnp.where(empty, 0, part / jnp.where(empty, 1, whole)))


class Confusion(Metric):
    classes: int

    def sums(self, prediction: Any, target: Any) -> Array:
        decided = decisions("confusion_matrix", prediction, target, self.classes, True)
        actual, predicted = (a.reshape(-1, a.shape[-1]) for a in (decided.actual, decided.predicted))
        return actual.T @ predicted

    def value(self, sums: Array) -> Array:
        return sums


class Decisions(NamedTuple):
    """1 where a class was predicted and where it holds, [..., classes]; and whether just one does."""

    predicted: Array
    actual: Array
    exclusive: bool


def decisions(what: str, prediction: Any, target: Any, classes: int | None, each: bool) -> Decisions:
    """Predicted and actual classes of one example. `each`: whether classes are told apart."""
    z, t = jnp.asarray(prediction), jnp.asarray(target)
    if z.shape[:-1] == t.shape and z.ndim > t.ndim and jnp.issubdtype(t.dtype, jnp.integer):
        _check_classes(what, classes, z.shape[-1])
        return Decisions(_one_hot(_likeliest(z), z.shape[-1]), _one_hot(t, z.shape[-1]), True)
    _check.equal_shapes(what, z, t)
    if one_hot_rows(z, t):
        _check_classes(what, classes, z.shape[-1])
        numbers = _likeliest(z), jnp.where(add_up(what, t), jnp.argmax(t, axis=-1), -1)
        predicted, actual = (_one_hot(number, z.shape[-1]) for number in numbers)
        return Decisions(predicted, actual, True)
    if jnp.issubdtype(z.dtype, jnp.integer) and (classes is not None or each):
        if classes is None:
            raise ValueError(f"{what} of class numbers needs to know how many: {what}(classes=3, ...).")
        return Decisions(_one_hot(z, classes), _one_hot(t, classes), True)
    predicted, actual = _bits(z), _bits(t)
    if z.ndim and (classes is None or classes == z.shape[-1] > 2):
        return Decisions(predicted, actual, False)
    _check_classes(what, classes, 2)
    predicted, actual = (jnp.stack([1 - a, a], axis=-1) for a in (predicted, actual))
    return Decisions(predicted, actual, True)


def _likeliest(logits: Array) -> Array:
    """The class of the largest logit; -1, which is none, where one is not a number."""
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))


def _one_hot(numbers: Array, classes: int) -> Array:
    """Rows over the classes; not a number where the class is out of range."""
    numbers = class_numbers(numbers)
    number = jax.lax.broadcasted_iota(numbers.dtype, (*numbers.shape, classes), numbers.ndim)
    spread = jnp.broadcast_to(numbers[..., None], number.shape)
    known = (spread >= 0) & (spread < classes)
    return jnp.where(known, (number == spread).astype(float), jnp.nan)


def _bits(values: Array) -> Array:
    """1 for a logit above 0 and for a target of 1; whole numbers other than 0 and 1 are none."""
    positive = (values > 0).astype(float)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        return jnp.where(jnp.isnan(values), jnp.nan, positive)
    return jnp.where((values == 0) | (values == 1), positive, jnp.nan)


def _check_classes(what: str, told: int | None, found: int) -> None:
    if told is not None and told != found:
        raise ValueError(f"{what} was told of {told} classes, and the predictions have {found}.")


def _ratio(kind: str, average: Average, classes: int | None) -> Metric:
    _check.choice("average", average, ("binary", "micro", "macro"))
    if classes is not None:
        _two_or_more(classes)
    return Ratio(kind, average, classes)


def _two_or_more(classes: int) -> None:
    _check.positive("classes", classes)
    if classes < 2:
        raise ValueError(f"classes is at least 2; got {classes}.")

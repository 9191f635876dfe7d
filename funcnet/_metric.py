"""Metrics that are functions of sums over examples: what they give for one example, and how it adds up."""

import abc
import dataclasses
from typing import Any, dataclass_transform

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import Array, PyTree


@dataclass_transform(frozen_default=True)
class Metric(abc.ABC):
    """A metric that is no mean over examples, but a function of sums over them: F1, R², a matrix.

    A subclass declares its settings as fields (it becomes a frozen dataclass) and says what one example
    adds to the sums, and what the sums come to. What it returns when called on one example can be
    handed on by a loss like any other metric: `supervised(loss, f1=fn.metrics.f1())`. Weighted sums of
    every array are carried and `value` is taken once, so it is exact whatever the batch size, padding,
    weights and accumulation.

    Returns:
        When called as `metric(prediction, target)` on one example: a `MetricSums`.

    Raises:
        TypeError: if `sums` or `value` is missing.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> class Bias(fn.metrics.Metric):  # the mean error in standard deviations of the error
        ...     def sums(self, prediction, target):
        ...         error = prediction - target
        ...         return jnp.ones(()), error, error**2
        ...     def value(self, sums):
        ...         n, error, square = sums
        ...         return (error / n) / jnp.sqrt(square / n - (error / n) ** 2)
        >>> prediction, target = jnp.array([1.0, 2.0, 3.0, 6.0]), jnp.zeros(4)
        >>> round(float(fn.metrics.measure(Bias(), prediction, target)), 4)
        1.6036
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True)(cls)

    @abc.abstractmethod
    def sums(self, prediction: Any, target: Any) -> PyTree:
        """What one example adds: a pytree of arrays of fixed shapes.

        Args:
            prediction: the model's, for one example.
            target: the example's.
        """

    @abc.abstractmethod
    def value(self, sums: PyTree) -> Array:
        """The metric of the examples that were summed up.

        Args:
            sums: Σ w·sums over examples, of the same structure.
        """

    def __call__(self, prediction: Any, target: Any) -> "MetricSums":
        return MetricSums(self.sums(prediction, target), self)


@dataclasses.dataclass(frozen=True, eq=False)
class MetricSums:
    """What a `Metric` measured: sums over examples, to be added up. A pytree whose leaves are the sums.

    Args:
        sums: a pytree of arrays, of one example or summed over many.
        metric: whose they are.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> one = fn.metrics.rmse()(jnp.array(1.0), jnp.array(4.0))
        >>> float(one.value()), float(jax.tree.map(jnp.add, one, one).value())
        (3.0, 3.0)
    """

    sums: PyTree
    metric: Metric

    def value(self) -> Array:
        """The metric of everything that was summed up."""
        return self.metric.value(self.sums)


jax.tree_util.register_dataclass(MetricSums, ["sums"], ["metric"])


def weighted_sum(values: Array, weight: Array) -> Array:
    """Σ w·value over the leading axis, for values [n, ...]."""
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - 1))
    weight = weight if values.ndim == 1 else jnp.broadcast_to(weight, values.shape)
    # A row that does not count may hold anything: 0 * inf would not be 0.
    counted = jnp.where(weight > 0, values, jnp.zeros_like(values))
    return jnp.sum(counted * weight.astype(values.dtype), axis=0)


def settled(total: Any, weight: Array) -> Array:
    """What weighted sums come to: a `Metric`'s value, or else a mean."""
    if isinstance(total, MetricSums):
        return total.value()
    return total / weight.astype(total.dtype)


def at_least_single(value: Any) -> Array:
    """At least float32, so that sums over many examples keep their digits."""
    array = jnp.asarray(value)
    wide = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize >= 4
    return array if wide else array.astype(jnp.float32)


def checked(name: str, value: Any, batch: tuple[int, ...]) -> None:
    """Raise unless this is a number for one example, or a `MetricSums`; a batch of them has shape `batch`."""
    if not isinstance(value, MetricSums):
        _check.scalar(name, value, batch)

"""Metrics that are functions of sums over examples, and the sums themselves."""

import abc
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Array, PyTree

MAX_VALUES = 100


@dataclass_transform(frozen_default=True)
class Metric(abc.ABC):
    """A metric that is a function of sums over examples rather than a mean: F1, R², a confusion matrix.

    A subclass declares its settings as fields (it becomes a frozen dataclass) and defines two methods:
    `sums`, the terms that one example adds, and `value`, the metric as a function of the sums. A loss can
    return it like any other metric: `supervised(loss, f1=fn.metrics.f1())`. The weighted sums are
    accumulated and `value` is computed once, so the result is exact for any batch size, padding, weights
    and accumulation.

    Returns:
        When called as `metric(prediction, target)` on one example: a `MetricSums`.

    Raises:
        TypeError: if `sums` or `value` is not defined.

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
        """The terms that one example adds to the sums: a pytree of arrays of fixed shapes.

        Args:
            prediction: the model's prediction for one example.
            target: the target of the example.
        """

    @abc.abstractmethod
    def value(self, sums: PyTree) -> Array:
        """The metric of all examples.

        Args:
            sums: Σ w·sums over examples, with the same structure.
        """

    def __call__(self, prediction: Any, target: Any) -> "MetricSums":
        return MetricSums(self.sums(prediction, target), self)


@dataclasses.dataclass(frozen=True, eq=False)
class MetricSums:
    """The sums of a `Metric` over examples. A pytree whose leaves are the sums, so two can be added.

    Args:
        sums: a pytree of arrays, of one example or summed over many.
        metric: the metric that they belong to.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> one = fn.metrics.rmse()(jnp.array(1.0), jnp.array(4.0))
        >>> float(one.value()), float(jax.tree.map(jnp.add, one, one).value())
        (3.0, 3.0)
    """

    sums: PyTree
    metric: Metric

    def value(self) -> Array:
        """The metric of the examples in the sums."""
        if not isinstance(self.metric, Metric):
            raise TypeError(f"metric must be a fn.metrics.Metric, got {_check.describe(self.metric)}.")
        nothing = lambda leaf: leaf is None  # noqa: E731
        convert = lambda path, leaf: _check.jax_array(f"sums{jax.tree_util.keystr(path)}", leaf)  # noqa: E731
        return self.metric.value(jax.tree_util.tree_map_with_path(convert, self.sums, is_leaf=nothing))


jax.tree_util.register_dataclass(MetricSums, ["sums"], ["metric"])


@dataclasses.dataclass(frozen=True)
class WholeMetric:
    """A metric of all rows at once, returned by `whole`. Called on one example it keeps the pair."""

    function: Callable[..., Any]

    def __call__(self, prediction: Any, target: Any) -> "MetricRows":
        return MetricRows(prediction, target, None, self)

    @property
    def takes_weight(self) -> bool:
        """Whether the function takes the weights of the rows: its third argument, if it has no default."""
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # some builtins have no signature
            return False
        by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        third = by_place[2] if len(by_place) > 2 else None
        return third is not None and (third.name == "weight" or third.default is third.empty)


@dataclasses.dataclass(frozen=True, eq=False)
class MetricRows:
    """The pairs that a `WholeMetric` is computed from: predictions and targets [n, ...], weights [n].

    A pytree whose leaves are the arrays. No weights means that each row counts once.
    """

    predictions: PyTree
    targets: PyTree
    weight: Any
    metric: WholeMetric

    def value(self) -> Any:
        """The metric of these rows."""
        arguments = (self.predictions, self.targets)
        function = self.metric.function
        name = _check.function_name(function)
        with _check.only_jax(name, "fn.metrics.measure, or values of a callback, Request(values=...)"):
            value = function(*arguments, self.weight) if self.metric.takes_weight else function(*arguments)
        if not jax.tree.leaves(value):
            raise ValueError(f"{name} must return at least one number, got {value!r}.")
        return jax.tree.map(promote_to_float32, _check.results(name, value))


jax.tree_util.register_dataclass(MetricRows, ["predictions", "targets", "weight"], ["metric"])


def whole(metric: Callable[..., Any]) -> WholeMetric:
    """A metric of all rows at once, such as an area under a curve: exact, and not a mean over batches.

    A loss can return it like any other metric: `supervised(loss, recall=fn.metrics.whole(f))`. It is
    computed in evaluations, where the weights are fixed: by `evaluate`, and as `val_recall` in the history,
    for `EarlyStopping(monitor=...)` and `keep_best`, but not while an epoch changes the weights. An
    evaluation keeps the predictions and targets of all its rows in memory.

    Args:
        metric: `(predictions [n, ...], targets [n, ...]) -> scalar`, a function of JAX arrays; or of a
            third argument, without a default or called `weight`: weights [n], or None if the data has none.
            It may return several numbers, a dictionary or an array [k]: the value "a" or 0 of `recall` is
            named `recall_a` or `recall_0`.

    Returns:
        A metric for `supervised`, for a loss of your own, and for `measure`.

    Raises:
        TypeError: if `metric` is not a function of predictions and targets.
        ValueError: in an evaluation, if the data has weights and the metric does not take them.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> largest = fn.metrics.whole(lambda p, t: jnp.max(jnp.abs(p - t.astype(float))))
        >>> loss = fn.losses.supervised(fn.losses.squared_error, largest=largest, auc=fn.metrics.roc_auc)
        >>> x, y = jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])
        >>> metrics = fn.evaluate(loss, lambda x: x, (x, y), batch_size=3)
        >>> {name: round(float(value), 4) for name, value in metrics.items()}
        {'auc': 0.75, 'largest': 0.65, 'loss': 0.1581}
    """
    if isinstance(metric, WholeMetric):
        return metric
    expected = "a function (predictions, targets) or (predictions, targets, weight) of all rows"
    _check.takes("metric", metric, expected, *[None] * (3 if WholeMetric(metric).takes_weight else 2))
    if isinstance(metric, Metric):
        raise TypeError("metric must be a function of arrays, got a Metric, which is exact without whole.")
    return WholeMetric(metric)


def row_weights(weight: Any, n: int) -> Any:
    """Weights [n] of at least 32 bits, so that a sum over many rows keeps its digits; 1 if None.

    Concrete ones are checked and returned as NumPy's, in float64.
    """
    if weight is None:
        return np.ones(n, np.float32)
    _check.weight_type(weight)
    weight = _check.array("weight", weight)
    if weight.shape != (n,):
        raise ValueError(f"weight must be one number for each of the {n} rows, got shape {weight.shape}.")
    if isinstance(weight, jax.core.Tracer):
        return promote_to_float32(weight)
    values = np.asarray(weight).astype(np.float64)
    _check.weights(values)
    return values


def relative(weight: np.ndarray, dtype: Any = None) -> np.ndarray:
    """Concrete weights over a power of two, so that they are 1 to 2 in the mean; by default JAX's dtype.

    So no sum of them overflows, and a weight above zero stays above zero. A mean or a ratio does not depend
    on the unit of the weights.
    """
    dtype, counts = jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype, weight > 0
    values = np.ldexp(weight.astype(np.float64), -np.frexp(weight.max())[1])
    values = np.ldexp(values, 1 - np.frexp(values[counts].mean())[1])
    return np.where(counts, np.maximum(values, jnp.finfo(dtype).tiny), 0).astype(dtype)


def weighted_sum(values: Array, weight: Array) -> Array:
    """Σ w·value over the leading axis, for values [n, ...]."""
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - 1))
    weight = weight if values.ndim == 1 else jnp.broadcast_to(weight, values.shape)
    # A row of weight zero may hold any values, and 0 * inf would be NaN.
    values = jnp.where(weight > 0, values, jnp.zeros_like(values))
    return jnp.sum(values * weight.astype(values.dtype), axis=0)


def weighted_mean(values: Array, weight: Array) -> Array:
    """Σ w·value / Σ w over the leading axis, for values [n, ...], whose sum may be too large for its dtype.

    If it might be, all values are divided by a power of two first: that rounds nothing.
    """
    limit = float(jnp.finfo(values.dtype).max) / (4 * len(weight))
    counts = (weight.reshape(-1, *[1] * (values.ndim - 1)) > 0) & jnp.isfinite(values)
    heaviest = jnp.maximum(jnp.max(weight), 1).astype(values.dtype)
    is_large = jnp.max(jnp.where(counts, jnp.abs(values), 0)) > limit / heaviest
    scale = jnp.where(is_large, 2.0 ** -math.ceil(math.log2(8 * len(weight))), 1.0).astype(values.dtype)
    relative_weight = jnp.where(is_large, weight / heaviest.astype(weight.dtype), weight)
    return (
        weighted_sum(values * scale, relative_weight)
        / jnp.sum(relative_weight).astype(values.dtype)
        / scale
    )


def finalize(total: Any, weight: Array) -> Array:
    """The value of a weighted sum: of a `Metric` its value, else the mean."""
    if isinstance(total, MetricSums | MetricRows):
        return total.value()
    return total / weight.astype(total.dtype)


def named_values(name: str, value: Any) -> dict[str, Array]:
    """A metric's values by name: a dictionary and an array [k] give one for each of their numbers."""
    if isinstance(value, Mapping):
        return {f"{name}_{key}": jnp.asarray(v) for key, v in value.items()}
    value = jnp.asarray(value)
    if value.ndim != 1:
        return {name: value}
    if len(value) > MAX_VALUES:
        raise ValueError(
            f"a metric may have up to {MAX_VALUES} values, one name for each, got {len(value)} for {name}. "
            "Compute it from all predictions: fn.metrics.measure(metric, fn.predict(model, x), y)."
        )
    return {f"{name}_{i}": value[i] for i in range(len(value))}


def promote_to_float32(value: Any) -> Array:
    """Convert to at least float32, so that sums over many examples keep their precision."""
    array = jnp.asarray(value)
    is_wide = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize >= 4
    return array if is_wide else array.astype(jnp.float32)


def check_metric(name: str, value: Any, batch: tuple[int, ...]) -> None:
    """Check that a value is a scalar for one example, of shape `batch` for a batch, or of a `Metric`."""
    if not isinstance(value, MetricSums | MetricRows):
        _check.scalar(name, value, batch)


def join_values(values: Mapping[str, Any], prefix: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a part of a loss, such as a head, beside those before: `part_loss`, `part_accuracy`."""
    named = {f"{prefix}_{name}": value for name, value in more.items()}
    if both := values.keys() & named.keys():
        raise ValueError(f"two values of a loss would be called {min(both)!r}. Rename a part or a metric.")
    return {**values, **named}


def loss_and_metrics(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """What a loss returned as a pair, after a check that it is a value, or a value and a dictionary."""
    if isinstance(result, tuple) and len(result) != 2:
        raise TypeError(
            "a loss must return a scalar, or a scalar and a dictionary of metrics, got a tuple of "
            f"{len(result)} values."
        )
    value, metrics = result if isinstance(result, tuple) else (result, {})
    if not isinstance(metrics, Mapping):
        raise TypeError(
            "a loss must return a scalar, or a scalar and a dictionary of metrics, got "
            f"{_check.describe(metrics)} in place of the dictionary."
        )
    return value, metrics

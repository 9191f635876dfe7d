import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._compare import has_wide_integers, in_float64, is_float64, is_one_hot, overflows, sums_to_one
from funcnet._jit import bounded_jit
from funcnet._metric import Metric as Metric
from funcnet._metric import MetricSums as MetricSums
from funcnet._metric import (
    WholeMetric,
    check_metric,
    promote_to_float32,
    relative,
    row_weights,
    weighted_mean,
    weighted_sum,
)
from funcnet._metric import whole as whole
from funcnet._types import Array, PerExample, PyTree
from funcnet.metrics._accuracy import accuracy
from funcnet.metrics._calibration import CalibrationError, brier
from funcnet.metrics._counts import Confusion, Ratio
from funcnet.metrics._regression import R2, RMSE, center, scale_down


def measure(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Any = None) -> Array:
    """Compute a metric, or the weighted mean of a loss, from arrays of predictions and targets.

    Args:
        metric: a function of one example, `(prediction, target) -> scalar`, a `Metric`, or one of all rows
            from `whole`.
        predictions: [n, ...], such as `fn.predict(model, x)`.
        targets: [n, ...].
        weight: [n], at least 0; 1 for each row by default.

    Returns:
        A scalar; for a `Metric` its `value`, which may be an array; what the function of `whole` returns.

    Raises:
        TypeError: if the metric is not a function of a prediction and a target.
        ValueError: if there are no rows, lengths differ, or a weight is negative or all are zero; for
            classification metrics, if floating targets of the logits' shape don't add up to 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits, target = jnp.array([2.0, -1.0, 3.0]), jnp.array([1, 1, 0])
        >>> round(float(fn.metrics.measure(fn.metrics.accuracy, logits, target)), 4)
        0.3333
        >>> weight = jnp.array([2.0, 1.0, 1.0])
        >>> float(fn.metrics.measure(fn.metrics.accuracy, logits, target, weight))
        0.5
    """
    _check.per_example("metric", metric)
    predictions, targets = _arrays("predictions", predictions), _arrays("targets", targets)
    leaves = jax.tree.leaves((predictions, targets))
    n = _check.num_rows("measure", *leaves, names="predictions and targets")
    exact = row_weights(weight, n)
    if isinstance(metric, WholeMetric):
        return _measure_whole(metric, predictions, targets, None if weight is None else jnp.asarray(exact))
    weight = exact
    if not isinstance(exact, jax.core.Tracer):
        is_absolute = _depends_on_unit(metric)
        weight = _absolute(exact) if is_absolute else relative(exact)
        exact = exact if is_absolute else relative(exact, np.float64)
    _check_one_hot(metric, predictions, targets, weight)
    if isinstance(metric, R2):
        metric = R2(None)  # an offset serves sums over batches; here are all rows
    compute = functools.partial(_measure, metric)
    is_concrete = _tree.is_concrete((leaves, weight))
    if is_concrete and (
        _needs_float64(metric, leaves) or (_keeps_digits(metric) and _differ(weight, exact))
    ):
        return in_float64(compute, predictions, targets, exact)
    value = compute(predictions, targets, weight)
    if is_concrete and _keeps_digits(metric) and overflows(value):
        return in_float64(compute, predictions, targets, exact)
    return value


def _measure_whole(metric: WholeMetric, predictions: PyTree, targets: PyTree, weight: Any) -> Any:
    if weight is not None and not metric.takes_weight:
        raise ValueError(
            "metric must take weights if there are any: fn.metrics.whole(lambda predictions, targets, "
            "weight: ...)."
        )
    return dataclasses.replace(metric(predictions, targets), weight=weight).value()


def _arrays(name: str, tree: PyTree) -> PyTree:
    """A tree of arrays; a list of numbers, or of rows of numbers, is one array."""
    leaves = jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)
    if isinstance(tree, list | tuple) and all(
        isinstance(leaf, int | float | np.generic) for leaf in leaves
    ):
        tree = _check.array(name, tree)
    if not jax.tree.leaves(tree):
        raise TypeError(
            f"{name} must be an array with one row for each example, got {_check.describe(tree)}."
        )

    def as_array(path: Any, leaf: Any) -> Any:
        array = _check.array(f"{name}{jax.tree_util.keystr(path)}", leaf)
        _check.fits_int32(name, array, "Number classes from 0.")
        return array

    return jax.tree_util.tree_map_with_path(as_array, tree)


def _differ(weight: np.ndarray, exact: np.ndarray) -> bool:
    """Whether a weight is larger in float32 than it is: so light that float32 has nothing so small."""
    return bool((weight > 2 * exact).any())


def _depends_on_unit(metric: PerExample) -> bool:
    """Whether a metric may depend on the unit of the weights, as a confusion matrix and a user's may."""
    return isinstance(metric, Metric) and not isinstance(metric, CalibrationError | Ratio | R2 | RMSE)


def _absolute(weight: np.ndarray) -> np.ndarray:
    limits = jnp.finfo(jax.dtypes.canonicalize_dtype(float))
    if weight[weight > 0].min() < limits.tiny or weight.sum() > limits.max:
        raise ValueError(
            f"weight must be from {limits.tiny:.3g} on and add up to at most {limits.max:.3g}, got "
            f"{weight[weight > 0].min():.3g} to {weight.max():.3g}. Try weight / weight.max()."
        )
    return weight.astype(limits.dtype)


def _needs_float64(metric: Any, leaves: list[Any]) -> bool:
    """Whether one of funcnet's metrics gets numbers that float32 would round, or squares of any size."""
    if isinstance(metric, R2 | RMSE):
        return True
    return _keeps_digits(metric) and any(is_float64(a) or has_wide_integers(a) for a in leaves)


def _keeps_digits(metric: Any) -> bool:
    """Whether a metric can be computed in float64: one of funcnet's, with settings that are not traced."""
    while isinstance(metric, functools.partial):
        if not _tree.is_concrete((metric.args, metric.keywords)):
            return False
        metric = metric.func
    return getattr(metric, "keeps_digits", False)


def _check_one_hot(metric: PerExample, predictions: Any, targets: Any, weight: Array) -> None:
    """Check that concrete one-hot rows with a weight above zero add up to 1."""
    takes_classes = metric in (accuracy, brier) or isinstance(metric, CalibrationError | Confusion | Ratio)
    has_rows = takes_classes and is_one_hot(predictions, targets) and targets.ndim > 1
    if has_rows and _tree.is_concrete((targets, weight)):
        sums_to_one("measure", jnp.asarray(targets[np.asarray(weight) > 0]))


@functools.partial(bounded_jit, static_argnums=0)
def _measure(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Array) -> Array:
    scale: Any = 1.0
    if isinstance(metric, R2 | RMSE):
        predictions, targets, scale = scale_down(
            type(metric).__name__.lower(), predictions, targets, weight
        )
    if isinstance(metric, R2):
        predictions, targets, scale = *center(predictions, targets, weight), 1.0
    values = jax.vmap(lambda p, t: _check.results("metric", metric(p, t)))(predictions, targets)
    check_metric("the metric", values, weight.shape)
    if not isinstance(values, MetricSums):
        return weighted_mean(promote_to_float32(values), weight)
    sums = jax.tree.map(lambda leaf: weighted_sum(promote_to_float32(leaf), weight), values)
    return sums.value() / scale

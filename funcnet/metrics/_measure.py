import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._compare import is_one_hot, sums_to_one
from funcnet._metric import Metric as Metric
from funcnet._metric import MetricSums as MetricSums
from funcnet._metric import check_metric, finalize, promote_to_float32, weighted_sum
from funcnet._types import Array, PerExample, PyTree
from funcnet.metrics._accuracy import accuracy
from funcnet.metrics._calibration import CalibrationError, brier
from funcnet.metrics._counts import Confusion, Ratio
from funcnet.metrics._regression import R2, center


def measure(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Any = None) -> Array:
    """Compute a metric, or the weighted mean of a loss, from arrays of predictions and targets.

    Args:
        metric: a function of one example, `(prediction, target) -> scalar`, or a `Metric`.
        predictions: [n, ...], such as `fn.predict(model, x)`.
        targets: [n, ...].
        weight: [n], at least 0; 1 for each row by default.

    Returns:
        A scalar; for a `Metric` its `value`, which may be a matrix.

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
    for name, tree in {"predictions": predictions, "targets": targets}.items():
        for leaf in jax.tree.leaves(tree):
            _check.fits_int32(name, leaf, "Number classes from 0.")
    arrays = jax.tree.map(jnp.asarray, (predictions, targets))
    n = _check.num_rows("measure", *jax.tree.leaves(arrays))
    if weight is None:
        weight = jnp.ones(n)
    elif _tree.is_concrete(weight):
        _check.weights(jax.device_get(weight))
    weight = jnp.asarray(weight)
    _check.num_rows("measure", *jax.tree.leaves(arrays), weight)
    _check_one_hot(metric, arrays[0], arrays[1], weight)
    return _measure(metric, *arrays, weight)


def _check_one_hot(metric: PerExample, predictions: Any, targets: Any, weight: Array) -> None:
    """Check that concrete one-hot rows with a weight above zero add up to 1."""
    takes_classes = metric in (accuracy, brier) or isinstance(metric, CalibrationError | Confusion | Ratio)
    has_rows = takes_classes and is_one_hot(predictions, targets) and targets.ndim > 1
    if has_rows and _tree.is_concrete((targets, weight)):
        sums_to_one("measure", targets[weight > 0])


@functools.partial(jax.jit, static_argnums=0)
def _measure(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Array) -> Array:
    if isinstance(metric, R2) and metric.offset is None:
        predictions, targets = center(predictions, targets, weight)
    values = jax.vmap(metric)(predictions, targets)
    check_metric("the metric", values, weight.shape)
    sums = jax.tree.map(lambda leaf: weighted_sum(promote_to_float32(leaf), weight), values)
    return finalize(sums, jnp.sum(weight))

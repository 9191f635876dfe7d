import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._compare import add_up, one_hot_rows
from funcnet._metric import Metric as Metric
from funcnet._metric import MetricSums as MetricSums
from funcnet._metric import at_least_single, checked, settled, weighted_sum
from funcnet._types import Array, PerExample, PyTree
from funcnet.metrics._accuracy import accuracy
from funcnet.metrics._calibration import CalibrationError, brier
from funcnet.metrics._counts import Confusion, Ratio
from funcnet.metrics._regression import R2, centred


def measure(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Any = None) -> Array:
    """A metric, or the weighted mean of a loss, over whole arrays of predictions and targets.

    Args:
        metric: of one example, `(prediction, target) -> scalar`, or a `Metric`.
        predictions: [n, ...], such as `fn.predict(model, x)`.
        targets: [n, ...].
        weight: [n], at least 0; every row counts 1 when left out.

    Returns:
        A scalar; for a `Metric` what its `value` is, such as a matrix.

    Raises:
        TypeError: if the metric is no function of a prediction and a target.
        ValueError: if there are no rows or not as many of each, a weight is negative or all are zero; or
            if floating targets of the logits' shape don't add up to 1, for the metrics of classes here.

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
    arrays = jax.tree.map(jnp.asarray, (predictions, targets))
    n = _check.num_rows("measure", *jax.tree.leaves(arrays))
    if weight is None:
        weight = jnp.ones(n)
    elif _tree.is_concrete(weight):
        _check.weights(jax.device_get(weight))
    weight = jnp.asarray(weight)
    _check.num_rows("measure", *jax.tree.leaves(arrays), weight)
    _check_rows_of_classes(metric, arrays[0], arrays[1], weight)
    return _measured(metric, *arrays, weight)


def _check_rows_of_classes(metric: PerExample, predictions: Any, targets: Any, weight: Array) -> None:
    """Raise where concrete rows that count are read as one-hot, and are none."""
    of_classes = metric in (accuracy, brier) or isinstance(metric, CalibrationError | Confusion | Ratio)
    rows = of_classes and one_hot_rows(predictions, targets) and targets.ndim > 1
    if rows and _tree.is_concrete((targets, weight)):
        add_up("measure", targets[weight > 0])


@functools.partial(jax.jit, static_argnums=0)
def _measured(metric: PerExample, predictions: PyTree, targets: PyTree, weight: Array) -> Array:
    if isinstance(metric, R2) and metric.offset is None:
        predictions, targets = centred(predictions, targets, weight)
    each = jax.vmap(metric)(predictions, targets)
    checked("the metric", each, weight.shape)
    sums = jax.tree.map(lambda values: weighted_sum(at_least_single(values), weight), each)
    return settled(sums, jnp.sum(weight))

"""Regression metrics of all examples together."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._compare import absolute_error as absolute_error
from funcnet._compare import pair
from funcnet._metric import Metric, weighted_sum
from funcnet._types import Array


@_check.usage_of_metric("rmse()")
def rmse() -> Metric:
    """The root of the mean squared error, in the target's units.

    √(Σ w·e² / Σ w) over all examples and, if an example has several entries, over all of them.
    (scikit-learn takes the root for each output first, and then the mean.)

    Returns:
        A `Metric` of predictions and targets of one shape. NaN if all weights are zero.

    Raises:
        ValueError: when called, if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.metrics.measure(fn.metrics.rmse(), jnp.array([1.0, 7.0]), jnp.zeros(2))), 4)
        5.0
    """
    return RMSE()


@_check.usage_of_metric("r2()")
def r2(*, offset: float | None = None) -> Metric:
    """The coefficient of determination, 1 - Σ w·(t - p)² / Σ w·(t - mean)².

    1 is perfect, 0 is as good as predicting the mean. For targets with several entries it is the mean of R²
    over entries. If all targets are equal it is 1 for a perfect prediction and 0 otherwise, as in
    scikit-learn.

    `measure` has all rows at once, subtracts the mean of the targets first and computes in float64. In
    batches, in `evaluate` and `fit`, the variance of the targets is computed from Σ w·t and Σ w·t². In
    float32 this loses twice as many digits as |mean| / standard deviation has: targets appear to be equal
    if their mean exceeds 250 standard deviations, and equal targets may appear to vary in batches of more
    than 1024 rows. Subtracting an `offset` near their mean avoids both. Targets whose squares are 0 in
    float32 (below 1e-22) give NaN in batches.

    Args:
        offset: a number near the mean of the targets, in their units, for sums in batches; 0 if None.
            `measure` subtracts the mean itself.

    Returns:
        A `Metric` of predictions and targets of one shape. NaN if all weights are zero.

    Raises:
        TypeError: if the offset is not a Python number.
        ValueError: if it is not finite; when called, if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> target = jnp.array([1.0, 2.0, 3.0])
        >>> round(float(fn.metrics.measure(fn.metrics.r2(), jnp.array([1.0, 2.0, 4.0]), target)), 4)
        0.5

    Source: Wright, "Correlation and causation", 1921.
    """
    if offset is None:
        return R2(None)
    largest = float(jnp.finfo(jnp.float32).max)
    offset = _check.between("offset", offset, -largest, largest)
    return R2(float(offset))


def scale_down(name: str, predictions: Any, targets: Any, weight: Array) -> tuple[Array, Array, Array]:
    """Both times a power of two if their squares might overflow, which rounds nothing; and that factor."""
    p, t = jax.vmap(functools.partial(pair, name))(predictions, targets)
    counts = weight.reshape(-1, *[1] * (p.ndim - 1)) > 0
    largest = [jnp.max(jnp.where(counts & jnp.isfinite(a), jnp.abs(a), 0)) for a in (p, t)]
    exponent = jnp.finfo(p.dtype).maxexp
    is_large = jnp.maximum(*largest) > 2.0 ** (exponent // 2 - 4)
    scale = jnp.where(is_large, 2.0 ** -(3 * exponent // 4), 1.0).astype(p.dtype)
    return p * scale, t * scale, scale


def center(predictions: Array, targets: Array, weight: Array) -> tuple[Array, Array]:
    """Subtract the mean of the targets from both, which does not change R² and keeps its sums precise."""
    first = targets[jnp.argmax(weight > 0)][None]  # equal targets become exactly 0
    p, t = predictions - first, targets - first
    mean = weighted_sum(t, weight)[None] / jnp.sum(weight).astype(t.dtype)
    return p - mean, t - mean


class RMSE(Metric):
    def sums(self, prediction: Any, target: Any) -> tuple[Array, Array]:
        p, t = pair("rmse", prediction, target)
        return jnp.ones(()), jnp.mean((p - t) ** 2)

    def value(self, sums: tuple[Array, Array]) -> Array:
        if not isinstance(sums, tuple | list) or len(sums) != 2:
            raise TypeError(f"sums of rmse must be a pair of numbers, got {_check.describe(sums)}.")
        count, square = (_check.jax_array(f"sums[{i}]", part) for i, part in enumerate(sums))
        if _tree.is_concrete((count, square)) and bool((jnp.minimum(count, square) < 0).any()):
            raise ValueError(f"sums of rmse must be at least 0, got {count} and {square}.")
        return jnp.sqrt(square / count.astype(square.dtype))


class R2(Metric):
    offset: float | None

    def sums(self, prediction: Any, target: Any) -> Array:
        p, t = pair("r2", prediction, target)
        shifted = t - (self.offset or 0.0)
        return jnp.stack([jnp.ones_like(t), shifted, shifted**2, (t - p) ** 2])

    def value(self, sums: Array) -> Array:
        count, first, second, residual = sums
        variation = second - first * (first / count)
        # A smaller variation is only the rounding of its two terms: the targets are equal. It is that of
        # the sums within a batch, up to 84 eps for 1024 rows: totals of batches lose nothing. It must not
        # depend on `count`, whose unit is that of the weights.
        rounding = 128 * jnp.finfo(sums.dtype).eps * second
        underflows = (second == 0) & (first != 0)
        is_constant = variation <= rounding
        ratio = residual / jnp.where(is_constant, jnp.ones_like(variation), variation)
        r2_of_constant = jnp.where(residual == 0, 1, jnp.where(jnp.isnan(residual), residual, 0))
        is_defined = (count > 0) & ~underflows
        return jnp.mean(jnp.where(is_defined, jnp.where(is_constant, r2_of_constant, 1 - ratio), jnp.nan))

"""Seeded synthetic problems, most of them with a known optimal model."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import Array
from funcnet.data._dataset import Dataset

LARGEST = 1e30
"""A bound on lengths, well within float32."""
MOON_POINTS = 200
"""The number of points in the sum that approximates the density of a moon."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A synthetic dataset and the optimal model for it, if known.

    Args:
        data: pairs (x, y): x float32 [rows, features], y float32 [rows], or int32 class numbers.
        truth: the optimal model, called on x [..., features]: the mean of y given x, or the log-odds of
            class 1; None if unknown. It has no parameters, so
            `fn.evaluate(loss, problem.truth, problem.data)` is the loss that training can reach.
        least_loss: its mean squared error on new rows, in units of y squared; None if unknown.
        least_error: the fraction of new rows that it misclassifies; None if unknown.

    Example:
        >>> import funcnet as fn
        >>> problem = fn.data.gaussians(rows=1000, distance=2.0)
        >>> loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
        >>> metrics = fn.evaluate(loss, problem.truth, problem.data)
        >>> f"error {1 - metrics['accuracy']:.3f} on these rows, {problem.least_error:.3f} on new rows"
        'error 0.148 on these rows, 0.159 on new rows'
    """

    data: Dataset
    truth: Callable[[Array], Array] | None = None
    least_loss: float | None = None
    least_error: float | None = None


def noisy_line(
    rows: int = 120, slope: float = 2.0, intercept: float = 0.9, noise: float = 0.5, seed: int = 13
) -> Problem:
    """Points around a line, y = slope · x + intercept + noise · N(0, 1), x evenly spaced over 0 .. 3.

    The rows are shuffled by the same random generator that draws the noise.

    Args:
        rows: the number of rows, at least 1.
        slope: the slope of the line, in units of y per unit of x.
        intercept: y at x = 0, in units of y.
        noise: the standard deviation of the noise, in units of y.
        seed: the seed of numpy's legacy generator, whose numbers are the same in all versions.

    Returns:
        A Problem: x [rows, 1], y [rows].

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `rows` is below 1 or `noise` is negative, or an array of these sizes does not fit in
            memory.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> x, y = fn.data.noisy_line().data[:]
        >>> [round(float(c), 4) for c in np.polyfit(x[:, 0], y, 1)]
        [1.9045, 1.0404]
    """
    slope = _check.between("slope", slope, -LARGEST, LARGEST)
    intercept = _check.between("intercept", intercept, -LARGEST, LARGEST)
    rng, rows, _, noise = _begin(rows, 1, noise, seed)
    x = np.linspace(0, 3, rows)
    y = slope * x + intercept + noise * rng.randn(rows)
    order = rng.permutation(rows)
    given = f"slope={slope}, intercept={intercept} and noise={noise}"
    _check.keeps_digits(f"y of {given}", y, advice="Choose an intercept of the size of the noise.")

    def truth(x: Array) -> Array:
        return slope * x[..., 0] + intercept

    return Problem(_dataset(x[order, None], y[order]), truth, least_loss=noise**2)


def exact_linear(rows: int = 100, features: int = 5, noise: float = 1.0, seed: int = 0) -> Problem:
    """Linear regression whose least squares solution is exactly the true plane.

    y = x · w + b + e, where the residual e is orthogonal to every column of x and to the constant, and
    mean(e²) = noise² exactly. So the smallest mean squared error on *these* rows is noise², at w and b, the
    parameters of `problem.truth`.

    Args:
        rows: the number of rows, above features + 1.
        features: the number of columns of x, each N(0, 1).
        noise: the root mean square of the residual, in units of y.
        seed: the seed of numpy's legacy generator.

    Returns:
        A Problem: x [rows, features], y [rows].

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if there are too few rows for a residual, or `noise` is negative, or an array of these
            sizes does not fit in memory.

    Example:
        >>> import funcnet as fn
        >>> problem = fn.data.exact_linear(noise=0.5)
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> round(float(fn.evaluate(loss, problem.truth, problem.data)["loss"]), 5)
        0.25
    """
    rng, rows, features, noise = _begin(rows, features, noise, seed)
    if rows <= features + 1:
        raise ValueError(
            f"rows must be above features + 1 = {features + 1}, to leave a residual, got {rows}. "
            f"Try rows={10 * (features + 1)}."
        )
    x, weight, intercept = rng.randn(rows, features), rng.randn(features), rng.randn()
    span, _ = np.linalg.qr(np.column_stack([np.ones(rows), x]))
    residual = rng.randn(rows)
    residual -= span @ (span.T @ residual)
    residual *= noise / np.sqrt(np.mean(residual**2))

    def truth(x: Array) -> Array:
        return jnp.matmul(x, jnp.asarray(weight, x.dtype)) + float(intercept)

    return Problem(_dataset(x, x @ weight + intercept + residual), truth, least_loss=noise**2)


def friedman1(rows: int = 200, features: int = 10, noise: float = 1.0, seed: int = 0) -> Problem:
    """A nonlinear regression in which five features are relevant and the others are not.

    y = 10 sin(π x₀ x₁) + 20 (x₂ - 0.5)² + 10 x₃ + 5 x₄ + noise · N(0, 1), each x uniform in 0 .. 1.

    Args:
        rows: the number of rows, at least 1.
        features: the number of columns of x, at least 5.
        noise: the standard deviation of the noise, in units of y.
        seed: the seed of numpy's legacy generator.

    Returns:
        A Problem: x [rows, features], y [rows].

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `rows` is below 1, `features` is below 5 or `noise` is negative, or an array of
            these sizes does not fit in memory.

    Example:
        >>> import funcnet as fn
        >>> problem = fn.data.friedman1(rows=5000)
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> f"{fn.evaluate(loss, problem.truth, problem.data)['loss']:.2f} of {problem.least_loss}"
        '0.98 of 1.0'

    Source: Friedman, "Multivariate adaptive regression splines", Annals of Statistics 19, 1991.
    """
    from sklearn.datasets import make_friedman1

    rng, rows, features, noise = _begin(rows, features, noise, seed)
    if features < 5:
        raise ValueError(
            f"features must be at least 5, the number of relevant ones, got {features}. Try features=10."
        )
    x, y = make_friedman1(rows, features, noise=noise, random_state=rng)

    def truth(x: Array) -> Array:
        waves = 10 * jnp.sin(jnp.pi * x[..., 0] * x[..., 1])
        return waves + 20 * (x[..., 2] - 0.5) ** 2 + 10 * x[..., 3] + 5 * x[..., 4]

    return Problem(_dataset(x, y), truth, least_loss=noise**2)


def two_classes(rows: int = 100, flip_y: float = 0.1, class_sep: float = 1.5, seed: int = 0) -> Problem:
    """Two classes of two clusters each in the plane, with some random labels, as in scikit-learn.

    Args:
        rows: the number of rows, at least 4.
        flip_y: the fraction of labels that are replaced by random ones, in [0, 1).
        class_sep: half the distance between neighbouring clusters; larger is easier.
        seed: the seed of numpy's legacy generator.

    Returns:
        A Problem: x [rows, 2], y class numbers [rows]; its optimal model is unknown.

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `rows` is below 4 or `flip_y` is not in [0, 1), or an array of these sizes does not
            fit in memory.

    Example:
        >>> import funcnet as fn
        >>> x, y = fn.data.two_classes().data[0]
        >>> [round(float(v), 4) for v in x], int(y)
        ([1.5442, 2.529], 1)

    Source: Guyon, "Design of experiments for the NIPS 2003 variable selection benchmark", 2003;
    scikit-learn's `make_classification`.
    """
    from sklearn.datasets import make_classification

    flip_y = _check.between("flip_y", flip_y, 0.0, 1.0)
    class_sep = _check.above_zero("class_sep", class_sep)
    class_sep = _check.between("class_sep", class_sep, 0.0, LARGEST)
    rng, rows, *_ = _begin(rows, 2, 0.0, seed)
    if rows < 4:
        raise ValueError(f"rows must be at least 4, one for each cluster, got {rows}. Try rows=100.")
    clusters: dict[str, Any] = {"n_features": 2, "n_redundant": 0, "n_informative": 2}
    x, y = make_classification(rows, **clusters, flip_y=flip_y, class_sep=class_sep, random_state=rng)
    return Problem(_dataset(x, y))


def gaussians(rows: int = 200, features: int = 2, distance: float = 2.0, seed: int = 0) -> Problem:
    """Two equally likely classes, each N(mean, I), with a distance of `distance` between the means.

    The log-odds of class 1 are `distance` times the coordinate of x along the line between the means,
    measured from their midpoint. The smallest possible error is Φ(-distance / 2).

    Args:
        rows: the number of rows, at least 1.
        features: the number of columns of x, at least 1.
        distance: the distance between the two means, in standard deviations.
        seed: the seed of numpy's legacy generator.

    Returns:
        A Problem: x [rows, features], y class numbers [rows].

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `rows` or `features` is below 1, or `distance` is negative, or an array of these
            sizes does not fit in memory.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> problem = fn.data.gaussians(distance=2.0)
        >>> round(problem.least_error, 4), float(problem.truth(jnp.zeros(2)))
        (0.1587, 0.0)

    Source: Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """
    distance = _check.between("distance", distance, 0.0, 1e5)  # float32 keeps N(mean, 1) up to here
    rng, rows, features, _ = _begin(rows, features, 0.0, seed)
    y = rng.randint(2, size=rows)
    # The means lie on the diagonal, so that every feature is informative.
    half = distance / 2 / math.sqrt(features)
    x = rng.randn(rows, features) + half * (2 * y[:, None] - 1)

    def truth(x: Array) -> Array:
        return 2 * half * jnp.sum(x, axis=-1)

    return Problem(_dataset(x, y), truth, least_error=0.5 * math.erfc(distance / 2 / math.sqrt(2)))


def two_moons(rows: int = 200, noise: float = 0.2, seed: int = 0) -> Problem:
    """Two interleaved half circles, which no line separates.

    Given its class, a row is a point of a half circle plus noise · N(0, I), so the log-odds are the log
    ratio of two sums of normal densities along the half circles.

    Args:
        rows: the number of rows, at least 2.
        noise: the standard deviation of each coordinate, above 0; the circles have radius 1.
        seed: the seed of numpy's legacy generator.

    Returns:
        A Problem: x [rows, 2], y class numbers [rows].

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `rows` is below 2 or `noise` is not above 0, or an array of these sizes does not fit
            in memory.

    Example:
        >>> import funcnet as fn
        >>> problem = fn.data.two_moons(rows=1000)
        >>> loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
        >>> round(float(fn.evaluate(loss, problem.truth, problem.data)["accuracy"]), 3)
        0.969

    Source: scikit-learn's `make_moons`.
    """
    from sklearn.datasets import make_moons

    rng, rows, _, noise = _begin(rows, 2, noise, seed)
    if rows < 2:
        raise ValueError(f"rows must be at least 2, one for each class, got {rows}. Try rows=200.")
    if noise == 0:
        raise ValueError("noise must be above 0, so that log-odds are finite, got 0. Try noise=0.1.")
    x, y = make_moons(rows, noise=noise, random_state=rng)
    outline, moon = make_moons(2 * MOON_POINTS, shuffle=False)

    def log_density(x: Array, points: np.ndarray) -> Array:
        shape = (*x.shape[:-1], *points.shape)
        error = jnp.broadcast_to(x[..., None, :], shape) - jnp.broadcast_to(points.astype(x.dtype), shape)
        return jax.nn.logsumexp(-jnp.sum(error**2, axis=-1) / (2 * noise**2), axis=-1)

    def truth(x: Array) -> Array:
        return log_density(x, outline[moon == 1]) - log_density(x, outline[moon == 0])

    return Problem(_dataset(x, y), truth)


def _begin(
    rows: int, features: int, noise: float, seed: int
) -> tuple[np.random.RandomState, int, int, float]:
    """A seeded generator and the settings as Python's numbers, after a check that the arrays fit."""
    rows = _check.positive("rows", rows)
    features = _check.positive("features", features)
    _check.fits_in_memory(f"rows={rows} of features={features}", 32 * rows * (features + 1))
    noise = _check.between("noise", noise, 0.0, LARGEST)
    seed = _check.integer("seed", seed)
    seed = _check.between("seed", seed, 0, 2**32)
    return np.random.RandomState(seed), rows, features, noise


def _dataset(x: np.ndarray, y: np.ndarray) -> Dataset:
    return Dataset((x, y.astype(np.int32) if np.issubdtype(y.dtype, np.integer) else y))

"""The synthetic problems: the digits of the lesson, and the known optimal models."""

import jax
import numpy as np
import pytest
from scipy import stats

import funcnet as fn

REGRESSION = fn.losses.supervised(fn.losses.squared_error)
BINARY = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
PROBLEMS = {
    "exact_linear": fn.data.exact_linear,
    "friedman1": fn.data.friedman1,
    "gaussians": fn.data.gaussians,
    "noisy_line": fn.data.noisy_line,
    "two_classes": fn.data.two_classes,
    "two_moons": fn.data.two_moons,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_pure_and_does_not_use_numpys_global_generator(name):
    np.random.seed(5)  # noqa: NPY002 - the generator that must not be used
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = PROBLEMS[name](), PROBLEMS[name](), PROBLEMS[name](seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    (x, y), (x_again, y_again), (x_other, _) = first.data[:], again.data[:], other.data[:]
    assert (x == x_again).all()
    assert (y == y_again).all()
    assert name == "noisy_line" or (x != x_other).any()
    assert x.ndim == 2
    assert y.shape == x.shape[:1]
    assert x.dtype == np.float32


def test_d1_regression():
    x, y = fn.data.noisy_line().data[:]
    slope, intercept = np.polyfit(np.float64(x[:, 0]), np.float64(y), 1)
    error = np.mean((slope * np.float64(x[:, 0]) + intercept - np.float64(y)) ** 2)
    assert (f"{slope:.5f}", f"{intercept:.5f}", f"{error:.5f}") == ("1.90449", "1.04045", "0.20683")


@pytest.mark.parametrize(
    ("name", "settings", "parts", "counts"),
    [
        ("D2", {"flip_y": 0.1}, (70, 15, 15), [[38, 32], [8, 7], [6, 9]]),
        ("D3", {"flip_y": 0.05}, (70, 15, 15), [[38, 32], [7, 8], [7, 8]]),
        ("D4", {"flip_y": 0.05}, (70, 30), [[38, 32], [14, 16]]),
        ("D5", {"flip_y": 0.2, "class_sep": 1.0}, (80, 20), [[40, 40], [10, 10]]),
    ],
)
def test_d2_to_d5_class_counts(name, settings, parts, counts):
    split = fn.data.split(fn.data.two_classes(**settings).data, parts, None)
    assert [np.bincount(part[:][1]).tolist() for part in split] == counts, name


def test_the_truth_of_exact_linear_is_the_least_squares_solution():
    problem = fn.data.exact_linear(noise=0.5)
    x, y = (np.asarray(a, np.float64) for a in problem.data[:])
    solution, (residual,), *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y)
    np.testing.assert_allclose(residual / len(x), problem.least_loss, rtol=1e-5)
    np.testing.assert_allclose(
        problem.truth(x.astype(np.float32)), x @ solution[:-1] + solution[-1], atol=1e-5
    )


@pytest.mark.parametrize("name", ["friedman1", "noisy_line"])
def test_the_residual_of_the_truth_of_a_regression_is_the_noise(name):
    problem = PROBLEMS[name](rows=4000, noise=0.5)
    x, y = problem.data[:]
    residual = np.asarray(y) - np.asarray(jax.jit(problem.truth)(x))
    # The noise is normal with mean 0 and the given standard deviation.
    assert stats.kstest(residual / 0.5, "norm").pvalue > 0.01
    # The standard error of a variance of 4000 normal numbers is 2.2 % of it.
    np.testing.assert_allclose(
        fn.evaluate(REGRESSION, problem.truth, problem.data)["loss"], 0.25, rtol=0.08
    )


@pytest.mark.parametrize("name", ["gaussians", "two_moons"])
def test_the_truth_of_a_classification_is_calibrated(name):
    problem = PROBLEMS[name](rows=6000)
    x, y = problem.data[:]
    probability = np.asarray(jax.jit(lambda x: jax.nn.sigmoid(problem.truth(x)))(x))
    groups = np.digitize(probability, np.linspace(0, 1, 11)[1:-1])
    for group in range(10):
        inside = groups == group
        frequency, predicted = np.asarray(y)[inside].mean(), probability[inside].mean()
        error = np.sqrt(probability[inside] @ (1 - probability[inside])) / inside.sum()
        assert abs(frequency - predicted) < 4 * error + 1e-3, f"{name}: {frequency}, predicted {predicted}"


def test_the_error_of_gaussians_is_that_of_fishers_rule():
    problem = fn.data.gaussians(rows=20000, features=3, distance=1.5)
    error = 1 - float(fn.evaluate(BINARY, problem.truth, problem.data)["accuracy"])
    assert problem.least_error == pytest.approx(stats.norm.cdf(-0.75), rel=1e-6)
    assert abs(error - problem.least_error) < 4 * np.sqrt(problem.least_error / 20000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fn.data.noisy_line(rows=0), "rows must be at least 1"),
        (lambda: fn.data.noisy_line(noise=-1.0), "noise must be at least 0"),
        (lambda: fn.data.exact_linear(rows=6, features=5), "to leave a residual, got 6"),
        (lambda: fn.data.friedman1(features=4), "features must be at least 5"),
        (lambda: fn.data.two_classes(flip_y=1.5), "flip_y must be at least 0"),
        (lambda: fn.data.two_classes(rows=3), "rows must be at least 4"),
        (lambda: fn.data.gaussians(distance=-1.0), "distance must be at least 0"),
        (lambda: fn.data.two_moons(rows=1), "rows must be at least 2"),
        (lambda: fn.data.two_moons(noise=0.0), "Try noise=0.1"),
    ],
)
def test_wrong_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Statistics of studies against float64, with offsets, extreme scales and infinite logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import funcnet as fn
from funcnet.study._decompose import decompose


def the_key():
    return jax.random.key(0)


SQUARED_PARTS = jax.jit(functools.partial(decompose, "squared"))


def parts_in_float64(f, y, truth):
    """The squared error's parts by row, from their definitions."""
    mean, variance = f.mean(0), f.var(0, ddof=1)
    bias = (mean - truth) ** 2 - variance / len(f)
    error, noise = ((f - y) ** 2).mean(0), (y - truth) ** 2
    return {"error": error, "variance": variance, "bias_squared": bias, "noise": noise}


@pytest.mark.parametrize(
    ("offset", "spread", "bias"),
    [(0, 1, 1), (1e6, 1, 2), (1e6, 1, 1e4), (1e15, 1e9, 1e9), (0, 1e-15, 1e-15)],
)
def test_parts_of_the_error_do_not_depend_on_an_offset(offset, spread, bias):
    rng = np.random.default_rng(0)
    f = (offset + bias + spread * rng.normal(size=(50, 7))).astype(np.float32)
    truth = (offset + spread * rng.normal(size=7)).astype(np.float32)
    y = (truth + spread * rng.normal(size=7)).astype(np.float32)
    mean, errors, rows = SQUARED_PARTS(f, y, truth, np.ones(7, np.float32))
    expected = parts_in_float64(*(a.astype(float) for a in (f, y, truth)))
    for name, part in expected.items():
        np.testing.assert_allclose(rows[name], part, rtol=2e-5)
        assert float(mean[name]) == pytest.approx(part.mean(), rel=2e-5)
    left_out = [
        parts_in_float64(*(a.astype(float) for a in (np.delete(f, i, 0), y, truth))) for i in range(50)
    ]
    jackknife = np.std([part["variance"].mean() for part in left_out]) * 49**0.5
    assert float(errors["variance"]) == pytest.approx(jackknife, rel=1e-3)


def ensemble_of(values, average):
    """An ensemble whose members predict rows of `values`, whatever x is."""
    weight = np.zeros((len(values), 1, values.shape[1]), values.dtype)
    layer = fn.Linear(1, values.shape[1])
    return fn.study.Ensemble(fn._tree.replace(layer, weight=weight, bias=values), average)


def measured(values, average, *methods):
    """What methods of an ensemble of these values return."""
    ensemble, x = ensemble_of(values, average), np.zeros(1, values.dtype)
    return jax.jit(lambda ensemble, x: [getattr(ensemble, method)(x) for method in methods])(ensemble, x)


def test_the_spread_of_values_with_an_offset():
    values = (1e6 + np.random.default_rng(0).normal(size=(20, 3))).astype(np.float32)
    (spread,) = measured(values, "values", "spread")
    np.testing.assert_allclose(spread, values.astype(float).std(0), rtol=1e-5)


def test_probabilities_of_half_precision_are_averaged_in_float32():
    logits = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float16)
    mean, spread, found = measured(logits, "classes", "__call__", "spread", "mutual_information")
    p = scipy.special.softmax(logits.astype(float), axis=1)
    np.testing.assert_allclose(mean.astype(float), np.log(p.mean(0)), rtol=1e-3)
    np.testing.assert_allclose(spread.astype(float), p.std(0), rtol=1e-3)
    entropy = scipy.special.entr
    information = entropy(p.mean(0)).sum() - entropy(p).sum(1).mean()
    np.testing.assert_allclose(found, information, rtol=2e-3)


def test_infinite_logits_are_certain():
    logits = np.array([[np.inf, 0.0, 1.0], [0.0, np.inf, -np.inf]], np.float32)
    mean, information = measured(logits, "classes", "__call__", "mutual_information")
    np.testing.assert_allclose(np.exp(mean), [0.5, 0.5, 0.0])
    assert float(information) == pytest.approx(np.log(2))
    certain = np.array([[np.inf, 30.0], [np.inf, 30.0]], np.float32)
    mean, information = measured(certain, "binary", "__call__", "mutual_information")
    assert mean.tolist() == [np.inf, 30.0]
    assert float(information.max()) == 0


def test_a_run_with_an_infinite_metric_is_not_the_best():
    def metric(run):
        bias = sum(map(jnp.sum, jax.tree.leaves(run.model)))  # the weight stays 0
        return jnp.where(bias > 0.95, -jnp.inf, (bias - 1) ** 2)

    def make_train(rate):
        return fn.fit(
            fn.losses.supervised(fn.losses.squared_error),
            optax.sgd(rate),
            epochs=1,
            batch_size=4,
            shuffle=False,
        )

    study = fn.study.tune(make_train, metric, steps=6, optimizer=optax.sgd(0.05), mode="forward", log=False)
    data = np.zeros((4, 1), np.float32), np.ones(4, np.float32)
    start = jax.jit(fn.models.LinearRegression(1).init)(the_key())
    result = study(0.3, jax.tree.map(lambda a: 0 * a, start), data, the_key(), data)
    assert np.isfinite(result.best_value)


def test_standard_errors_of_scores_with_an_offset():
    scores = (1e6 + np.random.default_rng(0).normal(size=(2, 9))).astype(np.float32)
    curve = fn.study.Curve("n", (1, 2), {"loss": scores})
    expected = scores.astype(float).std(axis=1, ddof=1) / 3
    np.testing.assert_allclose(curve.standard_error["loss"], expected, rtol=1e-12)


X = np.linspace(0.0, 1.0, 8, dtype=np.float32)[:, None]
DATA = X, X[:, 0]
NET = fn.models.LinearRegression(1)


def make_train(rate):
    loss = fn.losses.supervised(fn.losses.squared_error)
    return fn.fit(loss, optax.sgd(rate), epochs=2, batch_size=4, shuffle=False)


def test_ensembles_and_derivatives_of_trainings_run_under_debug_nans():
    with jax.debug_nans(True):
        result = fn.study.ensemble(make_train(0.1), 2)(NET, DATA, the_key())
        result.model.spread(X)
        fn.study.Ensemble(result.model.members, "binary").disagreement(X)
        fn.study.hyper_gradient(make_train)(0.1, NET, DATA, the_key(), DATA)
        fn.study.diagnose(result.runs)


@pytest.mark.slow  # in a Trainer, test_surviving.py runs them so
def test_other_studies_run_under_debug_nans():
    train = make_train(0.1)
    with jax.debug_nans(True):
        fn.study.bias_variance(train, 3)(NET, DATA, the_key(), DATA, DATA[1])
        fn.study.cross_validate(train, fn.data.kfold(DATA, 2, the_key()))(NET, the_key())
        fn.study.capacity_curve(lambda _: (train, NET), (1,), 2)(DATA, the_key(), DATA)
        make_net = lambda width: fn.MLP((1, width, "scalar"))  # noqa: E731
        fn.study.sweep_sizes(make_net, train, (1, 2))(DATA, the_key(), DATA)
        fn.study.learning_curve(train, (4, 8), 2)(NET, DATA, the_key(), DATA)
        fn.study.sweep(make_train, {"rate": [0.1, 0.2]})(NET, DATA, the_key(), DATA)
        fn.study.learning_rate_range(make_train, num_rates=2, max_lr=0.1)(NET, DATA, the_key())
        fn.study.tune(make_train, steps=2)(0.1, NET, DATA, the_key(), DATA)

"""Arguments that `experiments/faults/fuzz_api.py` passed: one sentence, or the right number."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from keys import lazy_key

import funcnet as fn

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(12, 3)).astype(np.float32), RNG.normal(size=12).astype(np.float32)
LOSS = fn.losses.supervised(fn.losses.squared_error)
NET = fn.MLP((3, 4, "scalar"))
KEY = lazy_key(0)
MODEL = functools.cache(lambda: jax.jit(NET.init)(KEY()))
TRAIN = fn.fit(LOSS, optax.sgd(0.05), epochs=2, batch_size=4)
NEVER = 2**31 - 1
STUDY, LAYERS = fn.study, fn.layers


def _make_train(rate: Any) -> Any:
    return fn.fit(LOSS, optax.sgd(rate), epochs=2, batch_size=4)


COUNTS: dict[str, Callable[[], Any]] = {
    "directions": lambda: fn.transform.check_grads(jnp.sum, directions=NEVER),
    "samples": lambda: fn.transform.hessian_diag(jnp.sum, key=KEY(), samples=NEVER),
    "num_repeats": lambda: STUDY.learning_curve(TRAIN, (4, 8), NEVER),
    "num_rates": lambda: STUDY.learning_rate_range(_make_train, num_rates=NEVER),
    "num_samples": lambda: STUDY.sweep(_make_train, {"rate": [0.1]}, num_samples=NEVER),
    "size": lambda: STUDY.ensemble(TRAIN, NEVER),
    "steps": lambda: STUDY.tune(_make_train, steps=NEVER),
    "iterations": lambda: LAYERS.SpectralNorm(fn.Linear(3, 2), iterations=NEVER),
}


@pytest.mark.parametrize("name", COUNTS)
def test_more_repetitions_than_anybody_waits_for(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be at most [\d,]+, got"):
        COUNTS[name]()


@pytest.mark.parametrize("wrap", [jax.jit, jax.eval_shape], ids=["jit", "eval_shape"])
def test_sizes_whose_arrays_cannot_exist(wrap: Any) -> None:
    """XLA ends the process at arrays of 2**63 bytes."""
    conv = fn.models.ConvNet((6, 6, 2), 2**40)
    with pytest.raises(ValueError, match=r"sizes of this ConvNet must be below 2\*\*31, got classes 1,099"):
        wrap(conv.init)(KEY()) if wrap is jax.jit else wrap(conv.init, KEY())
    net = fn.models.ResMLP(3, 2, width=NEVER)
    with pytest.raises(ValueError, match=r"with width 2,147,483,647, need more memory than there is"):
        wrap(net.init)(KEY()) if wrap is jax.jit else wrap(net.init, KEY())
    large = jax.eval_shape(fn.models.ResMLP(3, 2, width=2**20).init, KEY())
    assert fn.count(large) > 2**40


SENTENCES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a key as axes": (
        lambda: fn.report.regression_line(lambda x: x, (X[:, 0], Y), jax.random.key(3)),
        TypeError,
        "axes of regression_line must be matplotlib axes",
    ),
    "a parameter of text": (
        lambda: jax.tree.map(lambda a: np.asarray(a).astype(str), MODEL())(X[0]),
        TypeError,
        "must be an array of numbers of shape",
    ),
    "a parameter with swapped bytes": (
        lambda: jax.tree.map(lambda a: np.asarray(a).astype(">f4"), MODEL())(X[0]),
        TypeError,
        "that JAX takes, got ndarray >f4",
    ),
    "a key as names": (
        lambda: STUDY.monitor(TRAIN, KEY()),
        ValueError,
        "quantities must be a list of names",
    ),
    "a key to clip the gradient of": (
        lambda: fn.transform.clip_gradient({"w": jnp.ones(2), "key": KEY()}, 1.0),
        TypeError,
        r"x\['key'\] must be real, got a key",
    ),
    "a choice of parameters that is an array": (
        lambda: fn.losses.penalized(LOSS, 0.1, where=lambda path, leaf: leaf > 0)(
            MODEL(), (X[0], Y[0]), None
        ),
        TypeError,
        "where must return True or False",
    ),
    "a complex parameter": (
        lambda: jax.tree.map(lambda a: np.asarray(a).astype(complex), MODEL())(X[0]),
        TypeError,
        "that JAX takes, got ndarray complex128",
    ),
    "masked features to mix": (
        lambda: fn.data.mixup(LOSS, 0.2)(MODEL(), (np.ma.masked_array(X, X > 1), Y), np.ones(12), KEY()),
        TypeError,
        r"batch\[0\] must be an array without masked entries",
    ),
    "a scalar as tokens": (
        lambda: jax.eval_shape(
            lambda: fn.models.Transformer(2, vocab_size=5, features=4, num_heads=2, depth=1).init(KEY())(1)
        ),
        ValueError,
        "expects an input of at least one token",
    ),
    "sums that are none": (
        lambda: fn.metrics.MetricSums(({}, 1.0), fn.metrics.rmse()).value(),
        TypeError,
        r"sums\[0\] must be an array of numbers",
    ),
    "a learning rate that is a list": (
        lambda: STUDY.hyper_gradient(_make_train)([0.05], NET, (X, Y), KEY(), (X, Y)),
        TypeError,
        "the optimizer can't update the parameters",
    ),
    "a learning rate that is an array": (
        lambda: STUDY.hyper_gradient(_make_train)(np.array([0.05, 0.05]), NET, (X, Y), KEY(), (X, Y)),
        ValueError,
        "the optimizer can't update the parameters: .*shapes",
    ),
    "nothing to sow": (
        lambda: fn.transform.sow(None, "a"),
        TypeError,
        "value must hold at least one array",
    ),
    "sums below 0": (
        lambda: fn.metrics.MetricSums((4.0, -1.0), fn.metrics.rmse()).value(),
        ValueError,
        "sums of rmse must be at least 0",
    ),
    "weights that float32 makes 0": (
        lambda: fn.data.Batch((X, Y), np.full(12, 1e-40)),
        ValueError,
        "weight must be 0 or at least 1.2e-38",
    ),
    "shapes as weights": (
        lambda: fn.save_weights(jax.ShapeDtypeStruct((2,), jnp.float32), "never-written"),
        TypeError,
        "model must hold arrays",
    ),
    "a class as a model": (lambda: fn.evaluate(LOSS, float, (X, Y)), TypeError, "of the model must be an"),
    "a loss of text to mix": (
        lambda: jax.eval_shape(
            fn.data.mixup(lambda *args: "text", 0.2), MODEL(), (X, Y), np.ones(12), KEY()
        ),
        TypeError,
        "loss must return arrays, got str 'text'",
    ),
    "a metric of text": (
        lambda: fn.metrics.measure(lambda p, t: "text", Y, Y),
        TypeError,
        "metric must return arrays, got str 'text'",
    ),
    "a name that is a number": (
        lambda: fn.train.Request(hyperparams={1: 0.5}),
        TypeError,
        "hyperparams must map names to numbers",
    ),
    "a shape in place of an array": (
        lambda: fn.transform.reap(jnp.sin)(jax.ShapeDtypeStruct((2,), jnp.float32)),
        TypeError,
        r"args\[0\]\[0\] must be an array, got its shape",
    ),
    "a line far from 0": (
        lambda: fn.data.noisy_line(intercept=2.0**24),
        ValueError,
        "y of slope=2.0, intercept=16777216.0",
    ),
    "an interval beyond int32": (
        lambda: fn.fit(LOSS, optax.sgd(0.1), epochs=2, eval_every=2**31),
        ValueError,
        "eval_every must be at most",
    ),
    "members that diverge": (
        lambda: STUDY.bias_variance(TRAIN, 3)(NET, (1e4 * X, 1e20 * Y), KEY(), (1e4 * X, 1e20 * Y)),
        FloatingPointError,
        "the errors of the models that `train` returned are not finite",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_one_sentence(name: str) -> None:
    call, error, sentence = SENTENCES[name]
    with pytest.raises(error, match=sentence):
        call()


def test_a_batch_takes_a_key_for_each_row_as_a_dataset_does() -> None:
    keys = jax.random.split(KEY(), 12)
    batch = fn.data.Batch((X, keys), np.ones(12))
    assert jnp.array_equal(jax.random.key_data(batch.example[1]), jax.random.key_data(keys))
    with pytest.raises(ValueError, match=r"weight must have one number for each row of example\[1\]"):
        fn.data.Batch((X, KEY()), np.ones(12))


@pytest.mark.parametrize("metric", ["poisson", "squared_error"])
@pytest.mark.parametrize("large", [88.8, 60.0])
def test_a_row_far_lighter_than_another_adds_nothing(metric: str, large: float) -> None:
    """Its weight is below all of float32, and its loss above."""
    target, weight = np.arange(12, dtype=np.int32) % 3, np.ones(12)
    prediction = Y.copy()
    prediction[6], weight[5] = large, 1e300
    value = fn.metrics.measure(getattr(fn.losses, metric), prediction, target, weight)
    expected = oracles.mean_of(oracles.LOSS_ORACLES[metric])(prediction, target, weight)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-300, 1e-40, 1.0, 1e300])
def test_a_mean_gradient_does_not_depend_on_the_unit_of_the_weights(unit: float) -> None:
    value_and_grad = fn.transform.microbatched_value_and_grad(lambda w, x: w * x, 2)
    value, gradient = value_and_grad(jnp.array(3.0), jnp.arange(5.0), unit * np.array([0, 1, 2, 1, 4]))
    np.testing.assert_allclose((value, gradient), (3 * 24 / 8, 24 / 8), rtol=1e-6)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_ranks_keep_the_digits_of_scores_and_weights(metric: str) -> None:
    function, target = getattr(fn.metrics, metric), np.array([0, 1, 0, 1, 1, 0])
    scores = 1 + 1e-12 * np.array([3, 1, 0, 2, 5, 4])  # equal in float32
    weight = np.array([1, 1e-280, 2, 1e-290, 1e-281, 1])
    expected = oracles.METRIC_ORACLES[metric](scores, target, weight)
    np.testing.assert_allclose(function(scores, target, weight), expected, rtol=1e-5)
    ones = np.ones(6, np.float32)
    expected = oracles.METRIC_ORACLES[metric](scores, target, ones)
    value = jax.jit(lambda weight: function(scores, target, weight))(ones)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", ["r2", "rmse"])
@pytest.mark.parametrize("large", [1.0, 1e10, 1e20, -3e38])
def test_squares_beyond_float32_within_jit(metric: str, large: float) -> None:
    target = Y.copy()
    target[1] = large
    value = jax.jit(lambda p: fn.metrics.measure(getattr(fn.metrics, metric)(), p, target))(X[:, 0])
    np.testing.assert_allclose(value, oracles.METRIC_ORACLES[metric](X[:, 0], target), rtol=1e-5)


def test_a_key_is_no_threshold_and_no_setting() -> None:
    with pytest.raises(TypeError, match="divergence_threshold must be a number, got an array of key"):
        fn.EarlyStopping(divergence_threshold=KEY())
    with pytest.raises(TypeError, match="settings must be floats or hashable, got a key for rate"):
        fn.study.sweep(lambda rate: None, {"rate": [KEY()]})


@pytest.mark.parametrize("place", range(3))
def test_nan_beside_an_infinity_is_not_an_infinite_likelihood(place: int) -> None:
    values = [np.inf, 0.0, np.inf]
    values[place] = np.nan
    mean, log_variance, target = values
    loss = jax.jit(fn.losses.gaussian_nll)
    assert np.isnan(loss(np.array([mean, log_variance], np.float32), np.float32(target)))
    assert np.isinf(loss(np.zeros(2, np.float32), np.float32(np.inf)))

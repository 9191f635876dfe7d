"""Law 12: losses, their gradients and metrics against numpy's formulas and scikit-learn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from scipy import special, stats
from sklearn import metrics

import funcnet as fn


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _one_hot(t: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[t] if t.dtype.kind == "i" else t


# The gradient of one example's loss, written down by hand: (prediction, target) -> gradient.
GRADIENTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared_error": lambda p, t: 2 * (p - t) / max(1, p.size),
    "binary_cross_entropy": lambda z, t: (_sigmoid(z) - t) / max(1, z.size),
    "cross_entropy": lambda z, t: (_softmax(z) - _one_hot(t, z.shape[-1])) / max(1, z[..., 0].size),
}
VALUES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "squared_error": lambda p, t: np.mean((p - t) ** 2),
    "binary_cross_entropy": lambda z, t: -np.mean(t * np.log(_sigmoid(z)) + (1 - t) * np.log(_sigmoid(-z))),
    "cross_entropy": lambda z, t: -np.mean(np.sum(_one_hot(t, z.shape[-1]) * np.log(_softmax(z)), axis=-1)),
}


def _kl(z: np.ndarray, t: np.ndarray) -> float:
    return float(special.rel_entr(t, _softmax(z)).sum(axis=-1).mean())


def _smoothed_bits(z: np.ndarray, t: np.ndarray) -> float:
    return VALUES["binary_cross_entropy"](z, 0.8 * t + 0.1)


def _smoothed_classes(z: np.ndarray, t: np.ndarray) -> float:
    return VALUES["cross_entropy"](z, 0.9 * _one_hot(t, 4) + 0.1 / 4)


def _focal(z: np.ndarray, t: np.ndarray) -> float:
    p = np.where(t == 1, _sigmoid(z), _sigmoid(-z))
    return float(np.mean(np.where(t == 1, 0.3, 0.7) * (1 - p) ** 2 * -np.log(p)))


# The value by the formula, for each row of the table; slopes by central differences of it.
FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "absolute-error": lambda p, t: np.mean(np.abs(p - t)),
    "binary-cross-entropy-smoothed": _smoothed_bits,
    "cross-entropy-smoothed": _smoothed_classes,
    "focal": _focal,
    "gaussian-nll": lambda p, t: -stats.norm.logpdf(t, p[0], np.exp(p[1] / 2)),
    "hinge": lambda z, t: np.mean(np.maximum(0, 1 - (2 * t - 1) * z)),
    "huber": lambda p, t: np.mean(special.huber(1.0, p - t)),
    "kl-divergence": _kl,
    "log-cosh": lambda p, t: np.mean(np.log(np.cosh(p - t))),
    "multilabel-cross-entropy": lambda z, t: VALUES["binary_cross_entropy"](z, t),
    "poisson": lambda z, t: -stats.poisson.logpmf(t, np.exp(z)) - special.gammaln(t + 1),
    "quantile": lambda p, t: 0.8 * (t - p) if t >= p else 0.2 * (p - t),
    "zero-one": lambda z, t: float(np.argmax(z) != t),
}


@pytest.mark.parametrize("name", tables.LOSSES)
def test_values_and_gradients_are_the_formulas(name: str) -> None:
    function = tables.LOSSES[name].function
    kind = tables.name_of(function)
    predictions, targets = tables.LOSSES[name].pairs(20, seed=1)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(function)))(predictions, targets)
    pairs = list(zip(predictions.astype(np.float64), targets, strict=True))
    formula = FORMULAS.get(name) or VALUES[kind]
    np.testing.assert_allclose(values, [formula(p, t) for p, t in pairs], rtol=2e-5, atol=1e-6)
    if name in FORMULAS:
        slopes = np.stack([_slope(formula, p, t) for p, t in pairs])
        np.testing.assert_allclose(gradients, slopes, rtol=2e-4, atol=1e-5)
    else:
        slopes = np.stack([GRADIENTS[kind](p, t) for p, t in pairs])
        np.testing.assert_allclose(gradients, slopes, rtol=2e-5, atol=1e-6)


def _slope(formula: Callable[[np.ndarray, np.ndarray], float], p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Central differences in each entry of the prediction."""
    slope = np.zeros_like(p)
    for place in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[place] = 1e-5
        slope[place] = (formula(p + step, t) - formula(p - step, t)) / 2e-5
    return slope


def test_settings_may_be_traced_and_one_for_each_entry() -> None:
    quantiles = jax.jit(lambda q: fn.losses.quantile(np.zeros(3), np.ones(3), q=q))
    np.testing.assert_allclose(quantiles(np.array([0.1, 0.5, 0.9], np.float32)), 0.5, rtol=1e-6)
    smoothed = jax.jit(lambda s: fn.losses.cross_entropy(np.zeros(4), np.array(1), smoothing=s))
    np.testing.assert_allclose(smoothed(0.3), np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", tables.marked([np.uint8, np.int8, np.uint16, np.int32], slow=[np.int8, np.uint16])
)
def test_class_numbers_of_every_width(dtype: type) -> None:
    logits = np.random.default_rng(0).normal(size=256).astype(np.float32)
    found = jax.jit(fn.losses.cross_entropy)(logits, np.array(5, dtype))
    np.testing.assert_allclose(found, special.logsumexp(logits) - logits[5], rtol=1e-5)


SLOPED = jax.jit(jax.value_and_grad(fn.losses.cross_entropy))


def test_large_offsets_and_masked_classes_keep_their_digits() -> None:
    logits = np.array([1e6, 1e6 - 0.5], np.float32)
    expected = np.log(1 + np.exp(-0.5))
    for target in (np.array(0), np.array([1.0, 0.0], np.float32)):
        np.testing.assert_allclose(SLOPED(logits, target)[0], expected, rtol=1e-5)
    masked = np.array([0.0, 1.0, -np.inf], np.float32)
    for target in (np.array(0), np.array([1.0, 0.0, 0.0], np.float32)):
        value, slope = SLOPED(masked, target)
        np.testing.assert_allclose(value, np.log(1 + np.e), rtol=1e-5)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("target", [np.array(0), np.array([1.0, 0.0, 0.0], np.float32)])
def test_a_traced_smoothing_of_zero_is_none(target: np.ndarray) -> None:
    def smoothed(logits: Any, share: Any) -> Any:
        return fn.losses.cross_entropy(logits, target, smoothing=share)

    masked = np.array([0.0, 1.0, -np.inf], np.float32)
    call = jax.jit(jax.value_and_grad(smoothed, argnums=(0, 1)))
    value, (slope, _) = call(masked, 0.0)
    plain, plain_slope = SLOPED(masked, target)
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    np.testing.assert_allclose(slope, plain_slope, rtol=1e-6)
    _, (_, in_share) = call(np.arange(3, dtype=np.float32), 0.0)
    np.testing.assert_allclose(in_share, -1.0, rtol=1e-5)  # the target's logit less the mean logit


def test_a_tiny_variance_of_an_exact_mean_is_finite() -> None:
    sloped = jax.jit(jax.value_and_grad(fn.losses.gaussian_nll))
    for log_variance in (-100.0, -1000.0):
        prediction = np.array([1.0, log_variance], np.float32)
        value, slope = sloped(prediction, np.float32(1))
        np.testing.assert_allclose(value, (np.log(2 * np.pi) + log_variance) / 2, rtol=1e-6)
        np.testing.assert_array_equal(slope, [0, 0.5])


def test_half_precision_predictions_do_not_round_targets() -> None:
    @jax.jit
    def measured(p: jax.Array, t: jax.Array, pair: jax.Array, high: jax.Array) -> Any:
        rmse = fn.metrics.measure(fn.metrics.rmse(), p[None], t[None])
        spreads = fn.losses.gaussian_nll(pair, t), fn.losses.gaussian_nll(pair.astype(float), t)
        far = fn.losses.absolute_error(high, jnp.float32(7e4))
        return jax.value_and_grad(fn.losses.squared_error)(p, t), rmse, far, spreads

    pair = np.array([1000.0, 0.0], jnp.bfloat16)
    (value, slope), rmse, far, spreads = measured(pair[0], np.float32(1003), pair, np.float16(6e4))
    assert (float(value), float(slope), slope.dtype) == (9.0, -6.0, jnp.bfloat16)
    assert (float(rmse), float(far)) == (3.0, 1e4)
    assert float(spreads[0]) == float(spreads[1])


WRONG_SETTINGS = {
    "a negative delta": (
        lambda: fn.losses.huber(1.0, 0.0, delta=-1.0),
        ValueError,
        "delta must be above 0",
    ),
    "a quantile of one": (lambda: fn.losses.quantile(1.0, 0.0, q=1.0), ValueError, "below 1"),
    "smoothing of one": (
        lambda: fn.losses.cross_entropy(np.zeros(3), np.array(0), smoothing=1.0),
        ValueError,
        "smoothing must be at least 0",
    ),
    "a word for gamma": (lambda: fn.losses.focal(0.0, 1, gamma="2"), TypeError, "gamma must be a number"),
    "two deltas for three entries": (
        lambda: fn.losses.huber(np.zeros(3), np.zeros(3), delta=np.ones(2)),
        ValueError,
        r"delta must be one number, or one for each entry.*\(2,\)",
    ),
    "a number for a mean and a spread": (
        lambda: fn.losses.gaussian_nll(np.zeros(3), np.array(1.0)),
        ValueError,
        "a mean and a log-variance",
    ),
    "class numbers for a distribution": (
        lambda: fn.losses.kl_divergence(np.zeros(3), np.array([0, 1, 0])),
        ValueError,
        "use cross_entropy",
    ),
    "a single logit": (
        lambda: fn.losses.cross_entropy(np.array(0.3), np.array(1)),
        ValueError,
        "use binary_cross_entropy",
    ),
    "one label": (
        lambda: fn.losses.multilabel_cross_entropy(np.array(0.0), np.array(1)),
        ValueError,
        "for a single yes or no, binary_cross_entropy",
    ),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_wrong_settings_are_refused(case: str) -> None:
    action, kind, words = WRONG_SETTINGS[case]
    with pytest.raises(kind, match=words):
        action()


def test_cross_entropies_are_scikit_learns_log_loss_with_weights() -> None:
    weight = np.random.default_rng(2).uniform(0.1, 3.0, 40).astype(np.float32)
    logits, target = tables.LOSSES["cross-entropy"].pairs(40)
    data = fn.data.Dataset((logits, target), weight=weight)
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    found = fn.evaluate(loss, lambda x: x, data, batch_size=7)
    expected = metrics.log_loss(
        target, _softmax(logits.astype(float)), sample_weight=weight, labels=range(4)
    )
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    right = metrics.accuracy_score(target, logits.argmax(axis=1), sample_weight=weight)
    np.testing.assert_allclose(found["accuracy"], right, rtol=1e-6)

    logits, target = tables.LOSSES["binary-cross-entropy"].pairs(40)
    data = fn.data.Dataset((logits, target), weight=weight)
    loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
    found = fn.evaluate(loss, lambda x: x, data, batch_size=7)
    expected = metrics.log_loss(target, _sigmoid(logits.astype(float)), sample_weight=weight)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    right = metrics.accuracy_score(target, logits > 0, sample_weight=weight)
    np.testing.assert_allclose(found["accuracy"], right, rtol=1e-6)


@pytest.mark.parametrize("logit", [-1e4, -90.0, 90.0, 1e4])
def test_cross_entropies_stay_exact_far_out(logit: float) -> None:
    wrong = fn.losses.binary_cross_entropy(np.float32(logit), np.int32(logit < 0))
    np.testing.assert_allclose(wrong, abs(logit), rtol=1e-6)
    right = fn.losses.binary_cross_entropy(np.float32(logit), np.int32(logit > 0))
    assert 0 <= float(right) < 1e-30
    pair = np.array([0.0, logit], np.float32)
    np.testing.assert_allclose(fn.losses.cross_entropy(pair, np.int32(logit < 0)), abs(logit), rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in tables.METRICS if n.startswith("absolute")])
def test_absolute_error_is_scikit_learns(name: str) -> None:
    prediction, target = tables.METRICS[name].pairs(15)
    each = np.asarray(jax.jit(jax.vmap(fn.metrics.absolute_error))(prediction, target))
    np.testing.assert_allclose(each.mean(), metrics.mean_absolute_error(target, prediction), rtol=1e-5)


def test_accuracy_of_a_sequence_and_of_one_hot_rows_is_scikit_learns() -> None:
    logits, target = tables.METRICS["accuracy-sequence"].pairs(15)
    accuracy = jax.jit(jax.vmap(fn.metrics.accuracy))
    each = np.asarray(accuracy(logits, target))
    expected = metrics.accuracy_score(target.ravel(), logits.argmax(axis=-1).ravel())
    np.testing.assert_allclose(each.mean(), expected, rtol=1e-6)
    one_hot = np.eye(4, dtype=np.float32)[target[:, 0]]
    each = np.asarray(accuracy(logits[:, 0], one_hot))
    expected = metrics.accuracy_score(target[:, 0], logits[:, 0].argmax(axis=-1))
    np.testing.assert_allclose(each.mean(), expected, rtol=1e-6)

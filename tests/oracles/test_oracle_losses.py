"""Law 12: losses, their gradients and metrics against numpy's formulas and scikit-learn."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
import tables
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


@pytest.mark.parametrize("name", tables.LOSSES)
def test_values_and_gradients_are_the_formulas(name: str) -> None:
    function = tables.LOSSES[name].function
    predictions, targets = tables.LOSSES[name].pairs(20, seed=1)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(function)))(predictions, targets)
    pairs = list(zip(predictions.astype(np.float64), targets, strict=True))
    expected = [VALUES[function.__name__](p, t) for p, t in pairs]
    np.testing.assert_allclose(values, expected, rtol=2e-5, atol=1e-6)
    slopes = np.stack([GRADIENTS[function.__name__](p, t) for p, t in pairs])
    np.testing.assert_allclose(gradients, slopes, rtol=2e-5, atol=1e-6)


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
    each = jax.vmap(fn.metrics.absolute_error)(prediction, target)
    np.testing.assert_allclose(each.mean(), metrics.mean_absolute_error(target, prediction), rtol=1e-5)


def test_accuracy_of_a_sequence_and_of_one_hot_rows_is_scikit_learns() -> None:
    logits, target = tables.METRICS["accuracy-sequence"].pairs(15)
    each = jax.vmap(fn.metrics.accuracy)(logits, target)
    expected = metrics.accuracy_score(target.ravel(), logits.argmax(axis=-1).ravel())
    np.testing.assert_allclose(each.mean(), expected, rtol=1e-6)
    one_hot = np.eye(4, dtype=np.float32)[target[:, 0]]
    each = jax.vmap(fn.metrics.accuracy)(logits[:, 0], one_hot)
    expected = metrics.accuracy_score(target[:, 0], logits[:, 0].argmax(axis=-1))
    np.testing.assert_allclose(each.mean(), expected, rtol=1e-6)

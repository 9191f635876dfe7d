"""Law 12: trained weights against scikit-learn's optima, least squares, and an MLP trained in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from tables import marked

import funcnet as fn


def _init(net: fn.Module) -> Any:
    return jax.jit(net.init)(cached_key(17))


def _table(n: int = 60, features: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, a noisy linear signal, and unequal weights of which one is zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    signal = x @ rng.normal(size=features) + 0.7 + 0.5 * rng.normal(size=n)
    weight = rng.uniform(0.2, 3.0, n)
    weight[4] = 0.0
    return tuple(a.astype(np.float32) for a in (x, signal, weight))


def test_linear_regression_is_least_squares() -> None:
    x, y, weight = _table()
    loss = fn.losses.supervised(fn.losses.squared_error)
    train = fn.fit(loss, optax.sgd(0.2), epochs=300, batch_size=60)
    model = train(
        _init(fn.models.LinearRegression(3)), fn.data.Dataset((x, y), weight=weight), cached_key(17)
    ).model
    oracle = LinearRegression().fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(model.linear.weight, oracle.coef_, rtol=1e-4)
    np.testing.assert_allclose(model.linear.bias, oracle.intercept_, rtol=1e-4)


def test_two_targets_and_weight_decay_are_ridge_regression() -> None:
    x, y, _ = _table()
    targets, decay = np.stack([y, np.tanh(y)], axis=1), 0.3
    loss = fn.losses.supervised(fn.losses.squared_error)
    net = fn.models.LinearRegression(3, 2)
    model = _init(net)
    mask = jax.tree.map(lambda a: a.ndim == 2, model)
    optimizer = optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(0.2))
    model = fn.fit(loss, optimizer, epochs=300, batch_size=60)(model, (x, targets), cached_key(17)).model
    # Mean (p - t)² over rows and two targets has the slope (p - t) / n: with decay · w, alpha = n · decay.
    oracle = Ridge(alpha=60 * decay).fit(x, targets)
    np.testing.assert_allclose(model.linear.weight, oracle.coef_.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.linear.bias, oracle.intercept_, rtol=1e-4)


@pytest.mark.parametrize("classes", marked(["scalar", 3], slow=["scalar"]))  # below, by another descent
def test_logistic_regression_is_scikit_learns_optimum(classes: Any) -> None:
    x, signal, weight = _table()
    edges = [0.7] if classes == "scalar" else [0.0, 1.5]
    y = np.digitize(signal, edges).astype(np.int32)
    decay = 0.05
    per_example = fn.losses.binary_cross_entropy if classes == "scalar" else fn.losses.cross_entropy
    plain = fn.losses.supervised(per_example)

    def loss(model: Any, example: Any, key: Any) -> jax.Array:
        return plain(model, example, key)[0] + decay / 2 * jnp.sum(model.linear.weight**2)

    train = fn.fit(loss, optax.lbfgs(), epochs=30, batch_size=60)
    data = fn.data.Dataset((x, y), weight=weight)
    model = train(_init(fn.models.Perceptron(3, classes)), data, cached_key(17)).model
    oracle = LogisticRegression(C=1 / (decay * weight.sum()), tol=1e-8).fit(x, y, sample_weight=weight)
    found = np.asarray(model.linear.weight).reshape(3, -1).T
    np.testing.assert_allclose(found, oracle.coef_, rtol=2e-3, atol=2e-4)
    bias = np.atleast_1d(model.linear.bias)
    # A shift of all classes' biases changes nothing, and nothing decides it.
    shift = 0 if classes == "scalar" else bias.mean() - oracle.intercept_.mean()
    np.testing.assert_allclose(bias - shift, oracle.intercept_, rtol=2e-3, atol=2e-4)


def test_a_perceptron_by_gradient_descent_with_weight_decay_is_the_same_optimum() -> None:
    x, signal, _ = _table()
    y, decay = (signal > 0.7).astype(np.int32), 0.05
    model = _init(fn.models.Perceptron(3))
    mask = jax.tree.map(lambda a: a.ndim == 1, model)
    optimizer = optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(1.0))
    loss = fn.losses.supervised(fn.losses.binary_cross_entropy)
    model = fn.fit(loss, optimizer, epochs=800, batch_size=60)(model, (x, y), cached_key(17)).model
    oracle = LogisticRegression(C=1 / (decay * 60), tol=1e-8).fit(x, y)
    np.testing.assert_allclose(model.linear.weight, oracle.coef_[0], rtol=1e-3)
    np.testing.assert_allclose(model.linear.bias, oracle.intercept_[0], rtol=1e-3, atol=1e-4)


class NumpyMLP:
    """A tanh MLP with a softmax output, its weighted gradient and two optimizers, in plain numpy."""

    def __init__(self, model: fn.MLP) -> None:
        pairs = [(layer.weight, layer.bias) for layer in model.layers]
        self.p = [np.array(a, np.float64) for pair in pairs for a in pair]
        self.m = [np.zeros_like(a) for a in self.p]
        self.v = [np.zeros_like(a) for a in self.p]
        self.t = 0

    def gradients(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
        w1, b1, w2, b2 = self.p
        hidden = np.tanh(x @ w1 + b1)
        z = hidden @ w2 + b2
        chances = np.exp(z - z.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        dz = (chances - np.eye(z.shape[1])[y]) * (weight / weight.sum())[:, None]
        dh = dz @ w2.T * (1 - hidden**2)
        return [x.T @ dh, dh.sum(axis=0), hidden.T @ dz, dz.sum(axis=0)]

    def sgd(self, gradients: list[np.ndarray], rate: float = 0.3, momentum: float = 0.9) -> None:
        self.m = [momentum * m + g for m, g in zip(self.m, gradients, strict=True)]
        self.p = [p - rate * m for p, m in zip(self.p, self.m, strict=True)]

    def adam(self, gradients: list[np.ndarray], rate: float = 0.02) -> None:
        self.t += 1
        self.m = [0.9 * m + 0.1 * g for m, g in zip(self.m, gradients, strict=True)]
        self.v = [0.999 * v + 0.001 * g**2 for v, g in zip(self.v, gradients, strict=True)]
        for i, (m, v) in enumerate(zip(self.m, self.v, strict=True)):
            self.p[i] = self.p[i] - rate * (m / (1 - 0.9**self.t)) / (
                np.sqrt(v / (1 - 0.999**self.t)) + 1e-8
            )


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param("sgd", optax.sgd(0.3, momentum=0.9), marks=pytest.mark.slow),
        ("adam", optax.adam(0.02)),
    ],
    ids=["sgd", "adam"],
)
def test_an_mlp_in_numpy_ends_in_the_same_weights(name: str, optimizer: Any) -> None:
    x, signal, weight = _table(n=38, seed=3)
    y = np.digitize(signal, [0.0, 1.5]).astype(np.int32)
    data = fn.data.Dataset((x, y), weight=weight)
    model = _init(fn.MLP((3, 6, 3), activation=jnp.tanh))
    loss = fn.losses.supervised(fn.losses.cross_entropy)
    run = fn.fit(loss, optimizer, epochs=2, batch_size=8)(model, data, cached_key(17))
    oracle = NumpyMLP(model)
    order = fn.data.Dataset((x, y, np.arange(38)), weight=weight)
    for epoch in range(2):
        for batch in fn.data.batches(order, 8, cached_key(17), epoch):
            rows = np.asarray(batch.example[2])[np.asarray(batch.weight) > 0]
            gradients = oracle.gradients(x[rows].astype(float), y[rows], weight[rows].astype(float))
            getattr(oracle, name)(gradients)
    found = [np.asarray(a) for layer in run.model.layers for a in (layer.weight, layer.bias)]
    for a, b in zip(found, oracle.p, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(found[0] - np.asarray(model.layers[0].weight)).max() > 0.05


@pytest.mark.parametrize("decay", marked([0.0, 0.5, 0.9], slow=[0.0, 0.5]))
def test_an_average_of_weights_is_numpys(decay: float) -> None:
    x, y, _ = _table(n=20)
    loss, start = fn.losses.supervised(fn.losses.squared_error), _init(fn.models.LinearRegression(3))
    settings = {"epochs": 3, "batch_size": 8}
    run = fn.fit(loss, optax.sgd(0.1), **settings, ema=decay)(start, (x, y), cached_key(17))
    step, state = (
        jax.jit(fn.step(loss, optax.sgd(0.1))),
        fn.TrainState.create(start, optax.sgd(0.1), cached_key(17)),
    )
    average, mass = np.zeros(3), 0.0
    for epoch in range(3):
        for batch in fn.data.batches((x, y), 8, cached_key(17), epoch):
            state, _ = step(state, batch)
            average = decay * average + (1 - decay) * np.asarray(state.model.linear.weight, np.float64)
            mass = decay * mass + (1 - decay)
    np.testing.assert_allclose(run.model.linear.weight, average / mass, rtol=1e-5)

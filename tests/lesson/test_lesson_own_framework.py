"""The lesson's framework from scratch (rows O1 to O9): numpy by hand, and funcnet with the same weights.

The random numbers follow the lesson: one stream with seed 0, first the data, then the weights of each net.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import CLASSES, d5
from sklearn.datasets import make_classification

import funcnet as fn


class Layer:
    """x · W + b and its gradient, by hand."""

    def __init__(self, rng, n_in, n_out):
        self.weight = rng.normal(0, 1 / np.sqrt(n_in), (n_out, n_in)).T
        self.bias = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, gradient):
        self.gradients = self.x.T @ gradient, gradient.sum(axis=0)
        return gradient @ self.weight.T

    def update(self, rate):
        self.weight = self.weight - rate * self.gradients[0]
        self.bias = self.bias - rate * self.gradients[1]


class Tanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, gradient):
        return gradient * (1 - self.y**2)

    def update(self, rate):
        pass


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(net, x):
    for layer in net:
        x = layer.forward(x)
    return x


def loss_and_accuracy(net, x, y):
    p = softmax(forward(net, x))
    return -np.log(p[np.arange(len(y)), y]).mean(), (p.argmax(axis=1) == y).mean()


def epoch(net, x, y, rate):
    """Batches of four in the order of the rows, each followed by an update."""
    for start in range(0, len(x), 4):
        rows = slice(start, start + 4)
        p = softmax(forward(net, x[rows]))
        gradient = (p - np.eye(2)[y[rows]]) / len(p)
        for layer in reversed(net):
            gradient = layer.backward(gradient)
        for layer in net:
            layer.update(rate)


@pytest.fixture(scope="module")
def lesson():
    """Rows and the nets of O1/O3, O5, O6, O7 and O8, drawn in that order from one stream."""
    rng = np.random.RandomState(0)
    clusters = {"n_features": 2, "n_redundant": 0, "n_informative": 2}
    x, y = make_classification(100, **clusters, flip_y=0.2, random_state=rng)
    nets = {name: [Layer(rng, 2, 2)] for name in ("O3", "O5", "O6", "O7")}
    nets["O8"] = [Layer(rng, 2, 10), Tanh(), Layer(rng, 10, 2)]
    return (x.astype(np.float32), y), nets


def as_funcnet(net):
    """The same network with the same weights."""
    layers = [
        fn.Linear(
            *layer.weight.shape,
            weight=jnp.asarray(layer.weight.astype(np.float32)),
            bias=jnp.asarray(layer.bias.astype(np.float32)),
        )
        if isinstance(layer, Layer)
        else jnp.tanh
        for layer in net
    ]
    return fn.Sequential(*layers)


def assert_same_weights(model, net):
    expected = [layer for layer in net if isinstance(layer, Layer)]
    actual = [layer for layer in model.layers if isinstance(layer, fn.Linear)]
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.weight, theirs.weight, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(ours.bias, theirs.bias, rtol=1e-4, atol=2e-5)


def test_the_rows_are_d5(lesson):
    (x, y), _ = lesson
    np.testing.assert_array_equal(np.concatenate([part[:][0] for part in d5()]), x)
    np.testing.assert_array_equal(np.concatenate([part[:][1] for part in d5()]), y)


def test_o1_o2_o3_the_untrained_loss_of_ten_rows(lesson):
    (x, y), nets = lesson
    loss, _ = loss_and_accuracy(nets["O3"], x[:10], y[:10])
    assert f"{loss:.6f}" == "1.429665"
    model = as_funcnet(nets["O3"])
    p = np.asarray(jax.jit(lambda x: jax.nn.softmax(model(x)))(x[:10]))
    np.testing.assert_allclose(p.sum(axis=1), np.ones(10), rtol=1e-6)
    np.testing.assert_allclose(fn.evaluate(CLASSES, model, d5()[0][:10])["loss"], loss, rtol=1e-5)


def test_o4_gradients_by_hand_are_jaxs(lesson):
    (x, y), nets = lesson
    net, model = nets["O8"], as_funcnet(nets["O8"])
    p = softmax(forward(net, x[:4]))
    gradient = (p - np.eye(2)[y[:4]]) / 4
    for layer in reversed(net):
        gradient = layer.backward(gradient)

    def loss(model):
        return fn.losses.cross_entropy(model(jnp.asarray(x[:4])), jnp.asarray(y[:4]))

    gradient = jax.jit(jax.grad(loss))(model)
    for i in (0, 2):
        np.testing.assert_allclose(gradient.layers[i].weight, net[i].gradients[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(gradient.layers[i].bias, net[i].gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "epochs", "rate"),
    [
        pytest.param("O5", 1, 0.1, marks=pytest.mark.slow),
        pytest.param("O6", 1, 0.1, marks=pytest.mark.slow),
        pytest.param("O7", 30, 0.005, marks=pytest.mark.slow),
        ("O8", 30, 0.01),
    ],
)
def test_o5_to_o8_training_by_hand_and_by_fit_end_in_the_same_weights(lesson, row, epochs, rate):
    (x, y), nets = lesson
    model = as_funcnet(nets[row])  # before the reference updates its weights
    train = fn.fit(CLASSES, optax.sgd(rate), epochs=epochs, batch_size=4, shuffle=False)
    run = train(model, d5()[0], cached_key(0), d5()[1])
    curves = []
    for _ in range(epochs):
        epoch(nets[row], x[:80].astype(np.float64), y[:80], rate)
        curves.append(
            [*loss_and_accuracy(nets[row], x[:80], y[:80]), *loss_and_accuracy(nets[row], x[80:], y[80:])]
        )
    assert_same_weights(run.model, nets[row])
    train_loss, train_accuracy, val_loss, val_accuracy = np.array(curves).T
    np.testing.assert_allclose(run.history["train_loss"], train_loss, rtol=1e-4)
    np.testing.assert_allclose(run.history["val_loss"], val_loss, rtol=1e-4)
    np.testing.assert_allclose(run.history["val_accuracy"], val_accuracy, atol=1e-6)
    scores = fn.evaluate(CLASSES, run.model, d5()[0])
    np.testing.assert_allclose(scores["accuracy"], train_accuracy[-1], atol=1e-6)
    if row == "O5":
        assert train_accuracy[-1] == 0.825


def test_o9_losses_of_regression_and_of_classification():
    residual = np.linspace(-2, 2, 101, dtype=np.float32)

    @jax.jit
    @jax.vmap
    def of_residual(r):
        return fn.metrics.absolute_error(r, jnp.zeros(())), fn.losses.squared_error(r, jnp.zeros(()))

    absolute, squared = of_residual(residual)
    np.testing.assert_allclose(absolute, np.abs(residual), rtol=1e-6)
    np.testing.assert_allclose(squared, residual**2, rtol=1e-6)

    @jax.jit
    @jax.vmap
    def of_logit(z):
        return fn.metrics.accuracy(z, jnp.int32(1)), fn.losses.binary_cross_entropy(z, jnp.int32(1))

    p = np.linspace(0.01, 0.99, 50)
    logits = np.log(p / (1 - p)).astype(np.float32)
    right, logistic = of_logit(logits)
    # For the true class 1 the 0-1 loss is 1 below one half; the lesson plots the opposite.
    np.testing.assert_array_equal(1 - np.asarray(right), p < 0.5)
    np.testing.assert_allclose(logistic, -np.log(p), rtol=1e-4)

"""The lesson's training tricks (rows R1, R2 and R4 to R10), each against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import BINARY, SQUARED, d2, d4

import funcnet as fn


def test_r1_inputs_scaled_to_0_1_and_to_unit_spread():
    assert float(d4()[0][:][0].min()) == 0.0
    assert float(d4()[0][:][0].max()) == 1.0
    x = fn.data.Scaler.fit(d2()[0]).transform(d2()[0])[:][0]
    np.testing.assert_allclose(x.mean(axis=0), np.zeros(2), atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), np.ones(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        (jax.nn.initializers.normal(1.0), 20.0),  # N(0, 1): the standard deviation grows by √n
        ("lecun_normal", 1.0),
        (jax.nn.initializers.normal(1 / 400), 0.05),  # standard deviation 1/n: the signal vanishes
        ("glorot_normal", np.sqrt(2 * 400 / 600)),
        ("glorot_uniform", np.sqrt(2 * 400 / 600)),
        ("he_normal", np.sqrt(2)),
    ],
)
def test_r2_how_each_initialiser_changes_the_spread(name, spread):
    x = np.random.default_rng(0).normal(size=(500, 400)).astype(np.float32)
    layer = jax.jit(fn.Linear(400, 200, weight_init=name).init)(cached_key(1))
    np.testing.assert_allclose((x @ np.asarray(layer.weight)).std(), spread, rtol=0.03)


def test_r4_dropout_zeroes_in_training_only():
    drop, x = fn.Dropout(0.3), np.ones(10000, np.float32)
    assert (drop(x) == x).all()
    zeros = (np.asarray(drop(x, key=cached_key(0))) == 0).mean()
    assert abs(zeros - 0.3) < 4 * np.sqrt(0.21 / 10000)


@pytest.mark.slow
def test_r5_weight_decay_shrinks_and_averaging_smooths():
    net, epochs = fn.models.Perceptron(2), {"epochs": 12, "batch_size": 2}
    start = net.init(cached_key(0))

    def size(decay):
        train = fn.fit(BINARY, optax.adamw(0.05, weight_decay=decay), **epochs)
        return jnp.linalg.norm(train(start, d2()[0], cached_key(0)).model.linear.weight)

    free, decayed = jax.vmap(size)(jnp.array([0.0, 0.5]))
    assert decayed < free
    noisy = fn.fit(BINARY, optax.sgd(0.5), **epochs)(start, d2()[0], cached_key(0), d2()[2])
    calm = fn.fit(BINARY, optax.sgd(0.5), ema=0.98, **epochs)(start, d2()[0], cached_key(0), d2()[2])
    tail = slice(4, None)
    assert calm.history["val_loss"][tail].std() < noisy.history["val_loss"][tail].std()


def formula(update):
    """Eight full-batch steps on a line with `update(gradient, memory, step) -> (change, memory)`."""
    x, y = (np.asarray(a, np.float64) for a in d2()[0][:])
    p, memory = np.array([0.5, -0.5]), {}
    for step in range(1, 9):
        gradient = 2 * x.T @ (x @ p - y) / len(x)
        change, memory = update(gradient, memory, step)
        p = p + change
    return p


def momentum(gradient, memory, step, gamma=0.9):
    v = gamma * memory.get("v", 0.0) - 0.05 * gradient
    return v, {"v": v}


def adagrad(gradient, memory, step):
    # The usual formula; the one in the lesson divides by the norm of a single gradient.
    squares = memory.get("s", 0.1) + gradient**2
    return -0.05 * gradient / np.sqrt(squares + 1e-7), {"s": squares}


def rmsprop(gradient, memory, step):
    squares = 0.9 * memory.get("s", 0.0) + 0.1 * gradient**2
    return -0.05 * gradient / np.sqrt(squares + 1e-8), {"s": squares}


def adam(gradient, memory, step):
    m = 0.9 * memory.get("m", 0.0) + 0.1 * gradient
    s = 0.999 * memory.get("s", 0.0) + 0.001 * gradient**2
    change = -0.05 * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
    return change, {"m": m, "s": s}


def clip(gradient, memory, step):
    # Rescaled to norm 1 if it is longer; the lesson always rescales.
    return -0.05 * gradient / max(1.0, np.linalg.norm(gradient)), memory


def decay_rate(gradient, memory, step):
    return -0.05 * 0.98 ** (step - 1) * gradient, memory


@pytest.mark.parametrize(
    ("row", "optimizer", "update"),
    [
        ("R6", optax.sgd(0.05, momentum=0.9), momentum),
        ("R6", optax.sgd(0.05), lambda *a: momentum(*a, gamma=0.0)),
        ("R7", optax.adagrad(0.05), adagrad),
        ("R7", optax.rmsprop(0.05), rmsprop),
        ("R7", optax.adam(0.05), adam),
        ("R8", optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.05)), clip),
        ("R9", optax.sgd(optax.exponential_decay(0.05, 1, 0.98)), decay_rate),
    ],
)
def test_r6_to_r9_descents_are_their_formulas(row, optimizer, update):
    linear = fn.Linear(2, "scalar", use_bias=False, weight=jnp.asarray(np.float32([0.5, -0.5])))
    train = fn.fit(SQUARED, optimizer, epochs=8, batch_size=70, shuffle=False)
    x, y = d2()[0][:]
    model = train(
        fn.models.LinearRegression(2, linear=linear), (x, np.asarray(y, np.float32)), cached_key(0)
    ).model
    np.testing.assert_allclose(model.linear.weight, formula(update), rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_r10_gradients_vanish_and_explode_with_depth_and_small_numbers_are_lost():
    x = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)

    def first_gradient_norm(weight_init, activation):
        net = fn.MLP((32,) * 12 + ("scalar",), activation=activation, weight_init=weight_init)

        @jax.jit
        def gradient(key):
            return jax.grad(lambda m: m(x).mean())(net.init(key)).layers[0].weight

        return np.linalg.norm(gradient(cached_key(0)))

    calm = first_gradient_norm("he_normal", jax.nn.relu)
    assert first_gradient_norm("he_normal", jax.nn.sigmoid) < 1e-4 * calm
    assert first_gradient_norm(jax.nn.initializers.normal(1.0), jax.nn.relu) > 1e4 * calm
    assert float(jax.jit(lambda a, b: a + b - a)(np.float32(1e10), np.float32(1e-10))) == 0.0

"""The lesson's page on overfitting (rows W1 to W11): large models, few rows, noise, and what helps.

The gap is the validation loss minus the training loss of the same weights, both in inference mode.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import BINARY, CLASSES, SQUARED, keys, made_once

import funcnet as fn


@made_once
def moons():
    return fn.data.two_moons(rows=500, noise=0.3).data


def gap(history):
    return float(jnp.mean(history["val_loss"][..., -1] - history["train_loss"][..., -1]))


def powers(x, degree):
    return np.polynomial.legendre.legvander(x / 2, degree)[:, 1:].astype(np.float32)


@pytest.mark.slow
def test_w1_w2_a_line_and_a_curve_of_seven_parameters_through_five_points():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    y = (2 * x + np.array([0.7, -1.2, 0.9, -1.0, 0.6])).astype(np.float32)
    x_valid = np.array([-1.6, -0.6, 0.4, 1.6])
    y_valid = (2 * x_valid + np.array([-0.9, 0.8, -0.8, 1.0])).astype(np.float32)

    def errors(degree):
        net = fn.models.LinearRegression(degree)
        train = fn.fit(SQUARED, optax.lbfgs(), epochs=60, batch_size=5)
        data, valid = (powers(x, degree), y), (powers(x_valid, degree), y_valid)
        history = train(net.init(cached_key(0)), data, cached_key(0), valid).history
        return fn.count(net), float(history["train_loss"][-1]), float(history["val_loss"][-1])

    parameters, line, line_valid = errors(1)
    assert parameters == 2
    assert parameters < len(x)
    assert line_valid < 2 * line
    parameters, curve, curve_valid = errors(6)
    assert parameters == 7
    assert parameters > len(x)
    assert curve < 1e-4
    assert curve_valid > 1.5 * line_valid


@pytest.mark.slow
def test_w3_w5_more_rows_shrink_the_gap_and_noisy_labels_widen_it():
    """One program: rows beyond the first n have weight 0; labels are flipped in all rows alike."""
    net = fn.MLP((2, 32, "scalar"), activation=jnp.tanh)
    train = fn.fit(BINARY, optax.adam(0.05), epochs=100, batch_size=100)
    (x, y), uniform = moons()[:], jax.random.uniform(cached_key(0), (500,))

    def history(rows, flip_rate, key):
        labels = jnp.where(uniform < flip_rate, 1 - y, y)
        data = fn.data.Dataset((x[:200], labels[:200]), weight=jnp.arange(200) < rows)
        return train(net.init(key), data, key, (x[200:], labels[200:])).history

    settings = jnp.array([20, 60, 200, 60]), jnp.array([0.0, 0.0, 0.0, 0.3])
    of_seeds = jax.vmap(history, in_axes=(None, None, 0))
    histories = jax.vmap(of_seeds, in_axes=(0, 0, None))(*settings, keys()[:8])
    few, some, many, noisy = (gap(jax.tree.map(lambda a, i=i: a[i], histories)) for i in range(4))
    assert few > some > many
    assert noisy > some + 0.1


@pytest.mark.slow
def test_w4_w8_a_richer_model_widens_the_gap_and_a_regularised_one_closes_it():
    data = moons()[:30]

    def history(width, dropout=0.0, decay=0.0):
        net = fn.MLP((2, width, "scalar"), activation=jnp.tanh, dropout=dropout)
        train = fn.fit(BINARY, optax.adamw(0.05, weight_decay=decay), epochs=150, batch_size=30)
        return jax.vmap(lambda key: train(net.init(key), data, key, moons()[200:]))(keys()[:4]).history

    small, large = history(1), history(64)
    assert gap(large) > gap(small) + 0.1
    for regularized in (history(64, decay=0.3), history(64, dropout=0.6, decay=0.1)):
        assert gap(regularized) < gap(large)
        assert regularized["val_loss"][:, -1].mean() < large["val_loss"][:, -1].mean()


@pytest.mark.slow
def test_w6_w7_the_turn_of_the_validation_loss_is_found_and_kept():
    data = moons()[:30]
    net = fn.MLP((2, 64, "scalar"), activation=jnp.tanh)
    free = fn.fit(BINARY, optax.adam(0.03), epochs=150, batch_size=30)
    history = free(net.init(cached_key(0)), data, cached_key(0), moons()[200:]).history
    best = int(jnp.argmin(history["val_loss"]))
    assert 0 < best < 149
    assert history["val_loss"][-1] > history["val_loss"][best]
    assert history["train_loss"][-1] < history["train_loss"][best]

    stopping = fn.EarlyStopping(patience=150)
    patient = fn.fit(BINARY, optax.adam(0.03), epochs=150, batch_size=30, stopping=stopping)
    run = patient(net.init(cached_key(0)), data, cached_key(0), moons()[200:])
    assert int(run.best_epoch) == best
    np.testing.assert_allclose(
        fn.evaluate(BINARY, run.model, moons()[200:])["loss"], history["val_loss"][best], rtol=1e-4
    )
    short = fn.fit(
        BINARY, optax.adam(0.03), epochs=150, batch_size=30, stopping=fn.EarlyStopping(patience=5)
    )
    stopped = short(net.init(cached_key(0)), data, cached_key(0), moons()[200:])
    assert stopped.outcome == fn.Outcome.PATIENCE_EXHAUSTED
    assert int(stopped.state.epoch) < 150


@pytest.mark.slow
def test_w11_iris_overfitted_on_purpose_and_not():
    iris = fn.data.load("iris")
    _, species = iris.data[:]
    parts = fn.data.split(iris.data, (0.2, 0.8), cached_key(0), stratify=species)
    rows, valid = map(fn.data.Scaler.fit(parts[0], "minmax").transform, parts)

    def history(net, decay=0.0):
        train = fn.fit(CLASSES, optax.adamw(0.02, weight_decay=decay), epochs=150, batch_size=30)
        return jax.vmap(lambda key: train(net.init(key), rows, key, valid))(keys()[:4]).history

    small, large = history(fn.models.Perceptron(4, 3)), history(fn.MLP((4, 64, 64, 3)))
    assert gap(large) > 0.15 > gap(small)
    assert large["train_loss"][:, -1].mean() < 0.01
    regularized = history(fn.MLP((4, 64, 64, 3), dropout=0.5), decay=0.5)
    assert gap(regularized) < gap(large) / 2
    assert regularized["val_loss"][:, -1].mean() < large["val_loss"][:, -1].mean()

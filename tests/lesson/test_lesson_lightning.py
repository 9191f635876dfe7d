"""The lesson's trainer (rows L1 to L8): what the training function already does."""

import jax
import optax
import pytest
from keys import cached_key
from recipes import BINARY, assert_in_band, d2, twenty

import funcnet as fn

NET = fn.MLP((2, 10, "scalar"), activation=jax.nn.relu)


@pytest.mark.slow
def test_l1_to_l4_l6_and_l7_thirty_epochs_of_slow_descent():
    """Architecture, optimizer, loss, validation rows and training function: five values, one call."""
    train = fn.fit(BINARY, optax.sgd(0.005), epochs=30, batch_size=16, shuffle=False)
    history = twenty(train, NET, d2()[0], d2()[1]).history
    assert history["val_loss"].shape == (20, 30)
    assert_in_band(history["val_loss"][:, -1], 0.50, 0.67)
    assert_in_band(history["val_accuracy"][:, -1], 0.53, 0.87)


def test_l5_test_and_predict():
    model = NET.init(cached_key(0))
    assert set(fn.evaluate(BINARY, model, d2()[2])) == {"loss", "accuracy"}
    assert fn.predict(model, d2()[2]).shape == (15,)


def test_l8_parameters_of_each_layer():
    rows = fn.summary(fn.Sequential(fn.Linear(2, 10), jax.nn.relu, fn.Linear(10, 1)), d2()[0][0][0]).rows
    assert [row.parameters for row in rows] == [41, 30, 0, 11]
    assert [row.class_name for row in rows[1:]] == ["Linear", "Activation", "Linear"]

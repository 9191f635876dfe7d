"""What `fit`, `step`, `evaluate` and `predict` refuse, before anything compiles."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn
from funcnet._check import _peers

X, Y = np.ones((8, 2), np.float32), np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
NET = fn.MLP((2, 3))
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


def the_key():
    return jax.random.key(0)


@functools.cache
def initial(net=NET):
    return jax.jit(net.init)(the_key())


def train(model=None, data=(X, Y), key=None, valid=None, loss=LOSS, **settings):
    model, key = initial() if model is None else model, the_key() if key is None else key
    return fn.fit(loss, optax.sgd(0.1), **{"epochs": 1, "shuffle": False, **settings})(
        model, data, key, valid
    )


@functools.cache
def a_run():
    return train()


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


class Keyless(fn.Module):
    net: fn.Module = fn.Sequential(fn.Linear(2, 3), fn.Dropout())

    def __call__(self, x):
        return self.net(x)


def whole(model, batch, weight, key):
    return 0.0


def vector(model, example, key):
    return model(example[0])


CASES = {
    "a label out of range": (
        lambda: train(data=(X, changed(Y, 5, 3))),
        ValueError,
        "targets from 0 to 2, got 3 in row 5 .*The model returns 3 logits",
    ),
    "a negative label": (lambda: train(data=(X, changed(Y, 0, -1))), ValueError, "got -1.* in row 0"),
    "a label out of range in validation rows": (
        lambda: train(valid=(X, Y + 1)),
        ValueError,
        "got 3 in row 2",
    ),
    "the worst f1": (lambda: fn.EarlyStopping("val_f1"), ValueError, "mode must be 'max' for 'val_f1'"),
    "patience first": (lambda: fn.EarlyStopping(5), TypeError, r"EarlyStopping\(patience=5\)"),
    "classes and a scalar output": (
        lambda: train(initial(fn.MLP((2, "scalar")))),
        ValueError,
        "cross_entropy expects logits of at least two classes",
    ),
    "a run to evaluate": (
        lambda: fn.evaluate(LOSS, a_run(), (X, Y)),
        TypeError,
        r"pass run\.model",
    ),
    "a table for features": (
        lambda: fn.predict(initial(), (X, Y)),
        TypeError,
        r"pass x alone: fn.predict\(model, x\)",
    ),
    "three classes for one logit": (
        lambda: train(
            initial(fn.MLP((2, "scalar"))), loss=fn.losses.supervised(fn.losses.binary_cross_entropy)
        ),
        ValueError,
        "binary_cross_entropy expects targets from 0 to 1",
    ),
    "unequal shapes": (
        lambda: train(
            initial(fn.MLP((2, 1))), data=(X, X[:, 0]), loss=fn.losses.supervised(fn.losses.squared_error)
        ),
        ValueError,
        r"prediction of shape \(1,\).*target of shape \(\).*'scalar'",
    ),
    "a NaN": (
        lambda: train(data=(changed(X, (1, 0), np.nan), Y)),
        ValueError,
        r"data\[0\] must be finite, got nan at \[1, 0\]",
    ),
    "a loss that is no scalar": (
        lambda: train(loss=vector),
        ValueError,
        r"a scalar for one example, got shape \(3,\)",
    ),
    "a loss that is no function": (lambda: train(loss="mse"), TypeError, "loss must be a function"),
    "a loss of prediction and target": (
        lambda: train(loss=fn.losses.cross_entropy),
        TypeError,
        r"'cross_entropy', which takes other arguments.*supervised\(f\)",
    ),
    "a single logit for classes": (
        lambda: train(initial(fn.MLP((2, 1))), data=(X, Y[:, None] * 0)),
        ValueError,
        "use binary_cross_entropy",
    ),
    "a decay of numpy's": (lambda: train(ema=jnp.array(1.5)), ValueError, "ema must be at least 0.0"),
    "a loss without examples in pairs": (lambda: train(data=(X,)), ValueError, r"Pass data=\(x, y\)"),
    "a metric called loss": (
        lambda: fn.losses.supervised(fn.losses.squared_error, loss=fn.metrics.accuracy),
        ValueError,
        "must not be 'loss' .* got 'loss'",
    ),
    "an optimizer that is none": (
        lambda: fn.fit(LOSS, "adam", epochs=1),
        TypeError,
        r"Try optax.adam\(1e-2\)",
    ),
    "an optimizer not called": (lambda: fn.fit(LOSS, optax.adam, epochs=1), TypeError, "optax.adam"),
    "no epochs": (lambda: fn.fit(LOSS, optax.sgd(0.1), epochs=0), ValueError, "epochs must be at least 1"),
    "half an epoch": (lambda: fn.fit(LOSS, optax.sgd(0.1), epochs=0.5), TypeError, "must be an integer"),
    "a word for shuffle": (lambda: train(shuffle="no"), TypeError, "shuffle must be True or False, got"),
    "an unknown on_nan": (lambda: train(on_nan="no"), ValueError, "stop, skip, ignore, raise"),
    "a decay of one": (lambda: train(ema=1.0), ValueError, "ema must be at least 0.0 and below 1.0"),
    "stopping by a number": (lambda: train(stopping=3), TypeError, "EarlyStopping"),
    "a monitor that is not measured": (
        lambda: train(stopping=fn.EarlyStopping(monitor="val_f1", mode="max"), valid=(X, Y)),
        ValueError,
        "monitor must be a name in the history .*val_accuracy.*got 'val_f1'",
    ),
    "a monitor without validation rows": (
        lambda: train(stopping=fn.EarlyStopping()),
        ValueError,
        r"'val_loss'.*train\(model, data, key, valid\)",
    ),
    "an unknown mode": (lambda: fn.EarlyStopping(mode="auto"), ValueError, "must be one of min, max"),
    "an architecture": (
        lambda: train(NET),
        TypeError,
        r"Linear at layers\[0\] is not initialized.*model = net.init",
    ),
    "a seed for a key": (lambda: train(key=1), TypeError, r"jax.random.key\(0\)"),
    "a function in a model": (lambda: train({"f": jax.nn.relu}), TypeError, "must be an array"),
    "integers in a model": (
        lambda: train({"w": jnp.arange(3)}),
        TypeError,
        r"\['w'\] of the model must be floating, got int32",
    ),
    "a model that can't be called": (
        lambda: train({"w": jnp.ones((2, 3))}),
        TypeError,
        r"model must be callable.*def loss\(params, example, key\)",
    ),
    "a batch that can't be cut": (
        lambda: fn.step(LOSS, optax.sgd(0.1), accumulate=3)(
            fn.TrainState.create(initial(), optax.sgd(0.1), the_key()), (X, Y)
        ),
        ValueError,
        "accumulate=3 must divide the rows of a batch, got 8 rows",
    ),
    "accumulation of a batchwise loss": (
        lambda: fn.fit(
            fn.losses.batchwise(lambda model, batch, weight, key: 0.0),
            optax.sgd(0.1),
            epochs=1,
            accumulate=2,
        ),
        ValueError,
        "whole batch at once",
    ),
    "a target of None": (lambda: train(data=(X, None)), ValueError, "got y=None"),
    "one-hot rows of integers": (
        lambda: train(data=(X, jax.nn.one_hot(Y, 3, dtype=int))),
        ValueError,
        r"One-hot rows must be floating, y.astype\(float\)",
    ),
    "rows that are no probabilities": (
        lambda: train(data=(X, jnp.ones((8, 3)))),
        ValueError,
        r"probabilities adding up to 1, got \[1.0, 1.0, 1.0\] in row 0",
    ),
    "a key kept from dropout": (
        lambda: train(initial(Keyless())),
        TypeError,
        r"Keyless.__call__ must accept a key and pass it on to net.layers\[1\].*\(self, x, key=None\)",
    ),
    "a metric with a name of the history": (
        lambda: train(loss=lambda m, e, k: (m(e[0]).sum(), {"val_loss": 1.0})),
        ValueError,
        "must not be 'loss' .* got 'val_loss'",
    ),
    "a metric that is no name": (
        lambda: train(loss=lambda m, e, k: (m(e[0]).sum(), {3: 1.0})),
        TypeError,
        "the name of a metric must be a string, got int 3",
    ),
    "metrics in a list": (
        lambda: train(loss=lambda m, e, k: (m(e[0]).sum(), [1.0])),
        TypeError,
        "in place of the dictionary",
    ),
    "three results of a loss": (
        lambda: train(loss=lambda m, e, k: (m(e[0]).sum(), {}, {})),
        TypeError,
        "got a tuple of 3 values",
    ),
    "data before the model": (
        lambda: fn.fit(LOSS, optax.sgd(0.1), epochs=1)((X, Y), initial(), the_key()),
        TypeError,
        r"got tuple and MLP. Write train\(model, data, key\)",
    ),
    "a run for a model": (lambda: train(a_run()), TypeError, "pass run.model"),
    "the smallest accuracy": (
        lambda: fn.EarlyStopping("val_accuracy"),
        ValueError,
        "mode must be 'max' for 'val_accuracy'",
    ),
    "predicting with a dict": (
        lambda: fn.predict({"w": X}, X),
        TypeError,
        "model must be",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_use_gets_one_clear_error(case):
    action, kind, words = CASES[case]
    with pytest.raises(kind, match=f"(?s){words}"):
        action()


def test_a_traced_label_out_of_range_is_nan_and_not_silence():
    value = jax.jit(fn.losses.cross_entropy)(jnp.zeros(3), jnp.array(3))
    assert jnp.isnan(value)
    assert jnp.isnan(jax.jit(fn.losses.binary_cross_entropy)(jnp.zeros(()), jnp.array(2)))


def test_models_may_have_fields_of_any_name():
    class Odd(fn.Module):
        model: fn.Module = fn.Linear(2, 3)
        state: fn.Module = fn.Linear(3, 3)

        def __call__(self, x, key=None):
            return self.state(self.model(x))

    assert train(initial(Odd())).history["loss"].shape == (1,)


def test_a_loss_that_cannot_be_hashed_is_evaluated():
    @dataclasses.dataclass
    class Scaled:
        factor: float

        def __call__(self, model, example, key):
            return self.factor * model * example

    loss = Scaled(2.0)
    assert fn.evaluate(loss, jnp.array(3.0), jnp.ones(4))["loss"] == 6.0
    assert fn.evaluate(loss, jnp.array(4.0), jnp.ones(4))["loss"] == 8.0


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("verbose", r"fn\.Trainer\(train, .*progress=\"bar\""),
        ("callbacks", r"fn\.Trainer"),
        ("validation_data", r"train\(model, data, key, valid=valid\)"),
        ("learning_rate", r"optax\.adamw"),
        ("epoch", "Its settings are batch_size, shuffle"),
    ],
)
def test_a_setting_that_fit_does_not_have_names_its_place(name, advice):
    with pytest.raises(TypeError, match=f"fit has no setting '{name}'.*{advice}"):
        fn.fit(LOSS, optax.sgd(0.1), epochs=1, **{name: 1})


def test_every_setting_of_the_trainer_names_the_trainer():
    settings = set(inspect.signature(fn.Trainer).parameters) - {"train"}
    for name in settings:
        assert _peers.SETTINGS[name.replace("_", "")].startswith("fn.Trainer(")


def state(**changes):
    made = fn.TrainState.create(jnp.zeros(()), optax.sgd(0.1), the_key())
    return dataclasses.replace(made, **changes)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: fn.History(3), "arrays must be a dictionary"),
        (lambda: fn.Run(None, {}), "state must be a TrainState"),
        (lambda: fn.step(LOSS, optax.sgd(0.1))((), jnp.ones(3)), "state must be a TrainState"),
        (lambda: fn.TrainState(None, None, 0, 0, 0, None), "key must be a typed JAX key"),
        (
            lambda: fn.TrainState(None, None, 0, jnp.zeros(2, int), the_key(), None),
            "epoch must be an integer",
        ),
        (lambda: fn.TrainState(None, None, 1.5, 0, the_key(), None), "step must be an integer"),
        (
            lambda: fn.step(LOSS, optax.sgd(0.1))(state(opt_state=...), jnp.ones(3)),
            "opt_state must be",
        ),
        (
            lambda: fn.step(LOSS, optax.adam(0.1))(state(), jnp.ones(3)),
            "opt_state must be the state of this optimizer",
        ),
        (
            lambda: fn.step(LOSS, optax.sgd(0.1))(state(model="text"), jnp.ones(3)),
            "must be an array",
        ),
        (lambda: fn.Buffer(jnp.float32), "the value of a Buffer must be an array"),
        (lambda: fn.predict(lambda x: x, ["a", "b"]), "x must be an array of numbers"),
    ],
)
def test_values_made_by_hand_are_checked(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call()

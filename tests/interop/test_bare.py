"""Models of any class, as they are: fit, Trainer, evaluate, predict, a loop of one's own, refusals."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tables import assert_close, same_bits

import funcnet as fn

KEY = jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(20, 4)), float)
Y = (X[:, 0] > 0).astype(int)
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
OPTIMIZER = optax.sgd(0.1)
TRAIN = fn.fit(LOSS, OPTIMIZER, epochs=2, batch_size=8)


class Net(eqx.Module):
    """A module with functions, numbers, integers, a key and Dropout among its leaves."""

    hidden: eqx.nn.Linear
    out: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    activation: object
    order: jax.Array
    seed: jax.Array
    scale: float = 2.0

    def __init__(self, key, rate=0.5):
        first, second = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(4, 8, key=first), eqx.nn.Linear(8, 2, key=second)
        self.dropout, self.activation = eqx.nn.Dropout(rate), jax.nn.relu
        self.order, self.seed = jnp.array([3, 2, 1, 0]), jax.random.key(5)

    def __call__(self, x, key):
        return self.out(self.dropout(self.activation(self.hidden(x[self.order])), key=key)) * self.scale


MODEL = Net(jax.random.key(0))


def plain_loop(model, epochs):
    """A loop as users of equinox write it, over the batches of `fit`."""
    model = eqx.tree_at(lambda m: m.dropout, model, eqx.nn.Dropout(0.0))

    def loss(model, x, y, weight):
        logits = jax.vmap(lambda x: model(x, key=KEY))(x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(losses * weight) / jnp.sum(weight)

    for epoch in range(epochs):
        for batch in fn.data.batches((X, Y), 8, KEY, epoch):
            grads = eqx.filter_grad(loss)(model, *batch.example, batch.weight)
            model = eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, grads))
    return model


def test_a_module_trains_as_in_a_loop_of_its_library():
    run = TRAIN(Net(jax.random.key(0), rate=0.0), (X, Y), KEY, (X, Y))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        expected = plain_loop(MODEL, 2)
    assert type(run.model) is Net
    assert run.model.activation is jax.nn.relu
    assert run.model.scale == 2.0
    assert same_bits((run.model.order, run.model.seed), (MODEL.order, MODEL.seed))
    assert_close(eqx.filter(run.model, eqx.is_inexact_array), eqx.filter(expected, eqx.is_inexact_array))
    assert np.isfinite(run.history["val_loss"]).all()


def test_dropout_is_active_in_training_alone():
    with_dropout = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=8)(MODEL, (X, Y), KEY)
    value = fn.evaluate(LOSS, MODEL, (X, Y))["loss"]
    without = eqx.nn.inference_mode(MODEL)
    assert abs(float(with_dropout.history["loss"][0]) - float(value)) > 1e-3
    logits = fn.predict(MODEL, X)
    assert_close(logits, jax.vmap(lambda x: without(x, key=None))(X))


def test_a_trainer_ends_where_fit_does():
    run = fn.Trainer(TRAIN, progress=False)(MODEL, (X, Y), KEY)
    assert type(run.model) is Net
    expected = TRAIN(MODEL, (X, Y), KEY).model
    assert same_bits(eqx.filter(run.model, eqx.is_array), eqx.filter(expected, eqx.is_array))


def settings():
    settings = {"name": "linear", "act": jax.nn.tanh, "power": 1, "on": True, "no": None}
    return {"w": jnp.zeros((4, 2)), **settings}


def loss_of_dict(model, example, key):
    x, y = example
    assert model["name"] == "linear"
    logits = model["act"](x @ model["w"]) ** model["power"]
    return fn.losses.cross_entropy(logits, y)


def test_a_dictionary_with_settings_trains_its_arrays():
    train = fn.fit(loss_of_dict, OPTIMIZER, epochs=2, batch_size=8)
    run = train(settings(), (X, Y), KEY)
    assert {k: v for k, v in run.model.items() if k != "w"} == {
        k: v for k, v in settings().items() if k != "w"
    }
    alone = fn.fit(
        lambda w, example, key: loss_of_dict(settings() | {"w": w}, example, key),
        OPTIMIZER,
        epochs=2,
        batch_size=8,
    )(settings()["w"], (X, Y), KEY)
    assert_close(run.model["w"], alone.model)
    assert fn.evaluate(loss_of_dict, run.model, (X, Y))["loss"] < 0.69


def test_a_loop_of_ones_own_ends_where_fit_does():
    state = fn.TrainState.create(settings(), OPTIMIZER, KEY)
    step = jax.jit(fn.step(loss_of_dict, OPTIMIZER))
    for epoch in range(2):
        for batch in fn.data.batches((X, Y), 8, KEY, epoch):
            state, _ = step(state, batch)
    expected = fn.fit(loss_of_dict, OPTIMIZER, epochs=2, batch_size=8)(settings(), (X, Y), KEY)
    values = [fn.evaluate(loss_of_dict, model, (X, Y)) for model in (state.model, expected.model)]
    assert_close(*values)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.BatchNorm(use_running_average=not train)(x)


def test_a_dictionary_of_lifted_networks_is_a_model():
    net = fn.interop.from_linen(Normed(), jnp.zeros(4))
    model = {"norm": net.init(KEY), "out": fn.Linear(4, 2).init(KEY)}

    def loss(model, example, key):
        return fn.losses.cross_entropy(model["out"](model["norm"](example[0], key=key)), example[1])

    run = fn.fit(loss, OPTIMIZER, epochs=1, batch_size=10)(model, (X, Y), KEY)
    assert np.isfinite(run.history["loss"]).all()


REFUSED = {
    "a number": ({"w": jnp.zeros(2), "b": 0.5}, TypeError, r"jnp\.asarray\(0\.5\)"),
    "no array": ({"name": "linear"}, TypeError, "no|array"),
    "integers alone": ({"w": jnp.arange(3)}, TypeError, "must be floating"),
    "a list as a leaf": ({"w": jnp.zeros(2), "set": {1, 2}}, TypeError, "can be hashed"),
    "statistics": ({"params": {"w": jnp.zeros(2)}, "batch_stats": {"m": jnp.zeros(2)}}, ValueError, "Lift"),
    "linen": (nn.Dense(3), TypeError, r"from_linen\(module, example\)"),
    "nnx": (nnx.Linear(4, 3, rngs=nnx.Rngs(0)), TypeError, "from_nnx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_refused(name):
    model, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        fn.fit(lambda model, example, key: jnp.sum(example[0]), OPTIMIZER, epochs=1)(model, (X, Y), KEY)


@pytest.mark.slow
def test_a_module_in_other_precision_with_a_penalty_and_averaged():
    parameters = eqx.filter(MODEL, eqx.is_inexact_array)
    penalty = sum(float((leaf**2).sum()) for leaf in (parameters.hidden.weight, parameters.out.weight))
    loss = fn.losses.penalized(LOSS, l2=1.0)
    value = fn.evaluate(loss, MODEL, (X, Y))
    np.testing.assert_allclose(value["penalty"], penalty, rtol=1e-5)
    train = fn.fit(fn.Precision(compute="bfloat16")(loss), OPTIMIZER, epochs=1, batch_size=8)
    average = fn.train.AverageWeights()
    run = fn.Trainer(train, callbacks=[average], progress=False)(MODEL, (X, Y), KEY)
    assert type(run.model) is type(average.model) is Net
    assert run.model.out.weight.dtype == jnp.float32
    model = fn.Precision(compute="bfloat16").model(MODEL)
    assert_close(fn.predict(model, X), fn.predict(MODEL, X), factor=1e5)


def test_penalties_leave_out_integers():
    model = {"w": jnp.ones(3), "order": jnp.array([0, 2, 1]), "name": "linear"}
    loss = fn.losses.penalized(lambda model, example, key: jnp.sum(model["w"]), l2=1.0)
    assert float(fn.evaluate(loss, model, (X, Y))["penalty"]) == 3.0

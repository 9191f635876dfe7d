"""Models of any class, as they are: fit, Trainer, evaluate, predict, a loop of one's own, refusals."""

import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from keys import cached_key
from tables import assert_close, same_bits

import funcnet as fn

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
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


@functools.cache
def net(rate=0.5):
    return Net(jax.random.key(0), rate)


@functools.cache
def run_of_net():
    return TRAIN(net(rate=0.0), (X, Y), cached_key(3), (X, Y))


def plain_loop(model, epochs):
    """A loop as users of equinox write it, over the batches of `fit`."""
    model = eqx.tree_at(lambda m: m.dropout, model, eqx.nn.Dropout(0.0))

    def loss(model, x, y, weight):
        logits = jax.vmap(lambda x: model(x, key=cached_key(3)))(x)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(losses * weight) / jnp.sum(weight)

    @eqx.filter_jit
    def step(model, x, y, weight):
        grads = eqx.filter_grad(loss)(model, x, y, weight)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, grads))

    for epoch in range(epochs):
        for batch in fn.data.batches((X, Y), 8, cached_key(3), epoch):
            model = step(model, *batch.example, batch.weight)
    return model


def test_a_module_trains_as_in_a_loop_of_its_library():
    run = run_of_net()
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        expected = plain_loop(net(), 2)
    assert type(run.model) is Net
    assert run.model.activation is jax.nn.relu
    assert run.model.scale == 2.0
    assert same_bits((run.model.order, run.model.seed), (net().order, net().seed))
    assert_close(eqx.filter(run.model, eqx.is_inexact_array), eqx.filter(expected, eqx.is_inexact_array))
    assert np.isfinite(run.history["val_loss"]).all()


def test_dropout_is_active_in_training_alone():
    with_dropout = fn.fit(LOSS, optax.sgd(0.0), epochs=1, batch_size=8)(net(), (X, Y), cached_key(3))
    value = fn.evaluate(LOSS, net(), (X, Y))["loss"]
    without = eqx.nn.inference_mode(net())
    assert abs(float(with_dropout.history["loss"][0]) - float(value)) > 1e-3
    logits = fn.predict(net(), X)
    assert_close(logits, jax.jit(jax.vmap(lambda x: without(x, key=None)))(X))


def test_a_trainer_ends_where_fit_does():
    run = fn.Trainer(TRAIN, progress=False)(net(rate=0.0), (X, Y), cached_key(3), (X, Y))
    assert type(run.model) is Net
    expected = run_of_net().model
    assert same_bits(eqx.filter(run.model, eqx.is_array), eqx.filter(expected, eqx.is_array))


def settings():
    settings = {"name": "linear", "act": jax.nn.tanh, "power": 1, "on": True, "no": None}
    return {"w": jnp.zeros((4, 2)), **settings}


def loss_of_dict(model, example, key):
    x, y = example
    assert model["name"] == "linear"
    logits = model["act"](x @ model["w"]) ** model["power"]
    return fn.losses.cross_entropy(logits, y)


@functools.cache
def run_of_dict():
    return fn.fit(loss_of_dict, OPTIMIZER, epochs=2, batch_size=8)(settings(), (X, Y), cached_key(3))


def test_a_dictionary_with_settings_trains_its_arrays():
    run = run_of_dict()
    assert {k: v for k, v in run.model.items() if k != "w"} == {
        k: v for k, v in settings().items() if k != "w"
    }
    alone = fn.fit(
        lambda w, example, key: loss_of_dict(settings() | {"w": w}, example, key),
        OPTIMIZER,
        epochs=2,
        batch_size=8,
    )(settings()["w"], (X, Y), cached_key(3))
    assert_close(run.model["w"], alone.model)
    assert fn.evaluate(loss_of_dict, run.model, (X, Y))["loss"] < 0.69


def test_a_loop_of_ones_own_ends_where_fit_does():
    state = fn.TrainState.create(settings(), OPTIMIZER, cached_key(3))
    step = jax.jit(fn.step(loss_of_dict, OPTIMIZER))
    for epoch in range(2):
        for batch in fn.data.batches((X, Y), 8, cached_key(3), epoch):
            state, _ = step(state, batch)
    values = [fn.evaluate(loss_of_dict, model, (X, Y)) for model in (state.model, run_of_dict().model)]
    assert_close(*values)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.BatchNorm(use_running_average=not train)(x)


def test_a_dictionary_of_lifted_networks_is_a_model():
    net = fn.interop.from_linen(Normed(), jnp.zeros(4))
    model = {"norm": net.init(cached_key(3)), "out": fn.Linear(4, 2).init(cached_key(3))}

    def loss(model, example, key):
        return fn.losses.cross_entropy(model["out"](model["norm"](example[0], key=key)), example[1])

    run = fn.fit(loss, OPTIMIZER, epochs=1, batch_size=10)(model, (X, Y), cached_key(3))
    assert np.isfinite(run.history["loss"]).all()


W = np.zeros(2, np.float32)
REFUSED = {
    "a number": (lambda: {"w": W, "b": 0.5}, TypeError, r"jnp\.asarray\(0\.5\)"),
    "no array": (lambda: {"name": "linear"}, TypeError, "no|array"),
    "integers alone": (lambda: {"w": np.arange(3)}, TypeError, "must be floating"),
    "a list as a leaf": (lambda: {"w": W, "set": {1, 2}}, TypeError, "can be hashed"),
    "statistics": (lambda: {"params": {"w": W}, "batch_stats": {"m": W}}, ValueError, "Lift"),
    "linen": (lambda: nn.Dense(3), TypeError, r"from_linen\(module, example\)"),
    "nnx": (lambda: nnx.Linear(4, 3, rngs=nnx.Rngs(0)), TypeError, "from_nnx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_refused(name):
    make, error, match = REFUSED[name]
    model = make()
    with pytest.raises(error, match=match):
        fn.fit(lambda model, example, key: jnp.sum(example[0]), OPTIMIZER, epochs=1)(
            model, (X, Y), cached_key(3)
        )


@pytest.mark.slow
def test_a_module_in_other_precision_with_a_penalty_and_averaged():
    parameters = eqx.filter(net(), eqx.is_inexact_array)
    penalty = sum(float((leaf**2).sum()) for leaf in (parameters.hidden.weight, parameters.out.weight))
    loss = fn.losses.penalized(LOSS, l2=1.0)
    value = fn.evaluate(loss, net(), (X, Y))
    np.testing.assert_allclose(value["penalty"], penalty, rtol=1e-5)
    train = fn.fit(fn.Precision(compute="bfloat16")(loss), OPTIMIZER, epochs=1, batch_size=8)
    average = fn.train.AverageWeights()
    run = fn.Trainer(train, callbacks=[average], progress=False)(net(), (X, Y), cached_key(3))
    assert type(run.model) is type(average.model) is Net
    assert run.model.out.weight.dtype == jnp.float32
    model = fn.Precision(compute="bfloat16").model(net())
    assert_close(fn.predict(model, X), fn.predict(net(), X), factor=1e5)


def test_penalties_leave_out_integers():
    model = {"w": jnp.ones(3), "order": jnp.array([0, 2, 1]), "name": "linear"}
    loss = fn.losses.penalized(lambda model, example, key: jnp.sum(model["w"]), l2=1.0)
    assert float(fn.evaluate(loss, model, (X, Y))["penalty"]) == 3.0

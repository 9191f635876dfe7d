"""The data D1 to D5 of the lesson, its losses, and twenty runs in one program, for the tests here."""

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 20)
"""The median of twenty seeds must lie in a band of the lesson."""

SQUARED = fn.losses.supervised(fn.losses.squared_error)
BINARY = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
CLASSES = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)

D1 = fn.data.noisy_line().data
D2 = fn.data.split(fn.data.two_classes(flip_y=0.1).data, (70, 15, 15), None)
_D3 = fn.data.split(fn.data.two_classes(flip_y=0.05).data, (70, 15, 15), None)
D3 = tuple(map(fn.data.Scaler.fit(_D3[0], "minmax", per_feature=False).transform, _D3))
_D4 = fn.data.split(fn.data.two_classes(flip_y=0.05).data, (70, 30), None)
D4 = tuple(map(fn.data.Scaler.fit(_D4[0], "minmax").transform, _D4))
D5 = fn.data.split(fn.data.two_classes(flip_y=0.2, class_sep=1.0).data, (80, 20), None)

unit_normal = jax.nn.initializers.normal(1.0)
"""Initial weights of the lesson's `randn`."""


def twenty(train, net, data, valid=None):
    """Twenty runs with different initial weights, in one program."""
    return jax.jit(jax.vmap(lambda key: train(net.init(key), data, key, valid)))(KEYS)


def last_batch_losses(loss, optimizer, net, data, *, epochs, batch_size=16):
    """The models, and what the lesson prints: the loss of each epoch's last batch before its update.

    A hand-written loop over `batches` and `step`, vmapped over twenty runs: losses [20, epochs].
    """
    step = fn.step(loss, optimizer)
    batches = jax.tree.map(lambda *each: jnp.stack(each), *fn.data.batches(data, batch_size))

    def epoch(state, _):
        state, info = jax.lax.scan(step, state, batches)
        return state, jax.vmap(lambda i: i.loss)(info)[-1]

    @jax.jit
    @jax.vmap
    def train(key):
        state = fn.TrainState.create(net.init(key), optimizer, key)
        state, printed = jax.lax.scan(epoch, state, length=epochs)
        return state.model, printed

    return train(KEYS)


def evaluate_all(loss, models, data):
    """Loss and metrics of twenty models, by name: arrays [20]."""
    return jax.jit(jax.vmap(lambda model: fn.evaluate(loss, model, data)))(models)


def assert_in_band(values, low, high):
    """The median lies in [low, high], up to the two digits that the lesson gives."""
    median = float(jnp.median(jnp.asarray(values)))
    assert low - 0.005 <= median <= high + 0.005, (
        f"median {median:.4f} outside {low} .. {high}; {np.sort(np.round(values, 3))}"
    )

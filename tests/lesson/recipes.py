"""The data D1 to D5 of the lesson, its losses, and twenty runs in one program, for the tests here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from keys import cached_key

import funcnet as fn


def made_once(make):
    """`make()` at its first use, and never as tracers."""

    @functools.cache
    def made():
        with jax.ensure_compile_time_eval():
            return make()

    return made


@made_once
def keys():
    """Of twenty runs, whose median must lie in a band of the lesson."""
    return jax.random.split(cached_key(0), 20)


SQUARED = fn.losses.supervised(fn.losses.squared_error)
BINARY = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
CLASSES = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


# The data of the lesson, each made when it is first used.


@made_once
def d1():
    return fn.data.noisy_line().data


@made_once
def d2():
    return _parts((70, 15, 15), flip_y=0.1)


@made_once
def d3():
    parts = _parts((70, 15, 15), flip_y=0.05)
    return tuple(map(fn.data.Scaler.fit(parts[0], "minmax", per_feature=False).transform, parts))


@made_once
def d4():
    parts = _parts((70, 30), flip_y=0.05)
    return tuple(map(fn.data.Scaler.fit(parts[0], "minmax").transform, parts))


@made_once
def d5():
    return _parts((80, 20), flip_y=0.2, class_sep=1.0)


def _parts(sizes, **settings):
    return fn.data.split(fn.data.two_classes(**settings).data, sizes, None)


unit_normal = jax.nn.initializers.normal(1.0)
"""Initial weights of the lesson's `randn`."""


def twenty(train, net, data, valid=None):
    """Twenty runs with different initial weights, in one program."""
    return jax.jit(jax.vmap(lambda key: train(net.init(key), data, key, valid)))(keys())


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

    return train(keys())


def evaluate_all(loss, models, data):
    """Loss and metrics of twenty models, by name: arrays [20]."""
    return jax.jit(jax.vmap(lambda model: fn.evaluate(loss, model, data)))(models)


def assert_in_band(values, low, high):
    """The median lies in [low, high], up to the two digits that the lesson gives."""
    median = float(np.median(values))
    assert low - 0.005 <= median <= high + 0.005, (
        f"median {median:.4f} outside {low} .. {high}; {np.sort(np.round(values, 3))}"
    )

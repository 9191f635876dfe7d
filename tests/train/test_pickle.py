"""A training function can be pickled and copied, before and after it was called."""

import copy
import pickle

import jax
import numpy as np
import optax
from tables import same_bits

import funcnet as fn

ROWS = np.arange(10, dtype=np.float32)


def loss(model, example, key):
    return (model - example) ** 2


def the_key():
    return jax.random.key(0)


def init(parameters):
    return optax.EmptyState()


def update(gradient, state, parameters=None):
    return jax.tree.map(lambda g: -0.1 * g, gradient), state


def test_a_training_function_can_be_pickled_and_copied():
    train = fn.fit(loss, optax.GradientTransformation(init, update), epochs=2, batch_size=4, shuffle=False)
    run = train(np.float32(0), ROWS, the_key())
    for other in (pickle.loads(pickle.dumps(train)), copy.copy(train)):
        assert same_bits(other(np.float32(0), ROWS, the_key()), run)


def test_a_trainer_can_be_pickled_and_copied_before_and_after_a_run(tmp_path):
    train = fn.fit(loss, optax.GradientTransformation(init, update), epochs=2, batch_size=4, shuffle=False)
    callbacks = [fn.train.CSV("history.csv"), fn.train.JSONLines("history.jsonl"), fn.report.LivePlot()]
    trainer = fn.Trainer(train, tmp_path, callbacks, keep=2, resume="never")
    run = trainer(np.float32(0), ROWS, the_key())
    log = callbacks[0]
    log._file = open(tmp_path / "open", "w")  # noqa: SIM115  (as in the middle of a run)
    for other in (pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)):
        assert other.callbacks[0]._file is None
        assert (other.directory, other.keep, other.resume) == (tmp_path, 2, "never")
    assert same_bits(other(np.float32(0), ROWS, the_key()).model, run.model)
    log._file.close()

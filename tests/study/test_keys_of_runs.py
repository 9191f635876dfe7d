"""Each run of a study has a key of its own: without training, the runs differ by their start alone."""

import jax
import numpy as np
import optax
import pytest
from keys import cached_key
from tables import MODELS

import funcnet as fn

ROW = MODELS["mlp"]
NET, RUNS = fn.MLP((3, 2, 3)), 3


def training(rate=0.0):
    return fn.fit(ROW.loss(), optax.sgd(rate), epochs=1, batch_size=12, shuffle=False)


def rows():
    return fn.data.Dataset(ROW.rows(12))


def ensemble(key):
    return fn.study.ensemble(training(), RUNS)(NET, rows(), key).runs.history["loss"][:, -1]


def cross_validate(key):
    study = fn.study.cross_validate(training(), fn.data.kfold(rows(), RUNS, key))
    return study(NET, key).runs.model.layers[0].weight[:, 0, 0]


def bias_variance(key):
    study = fn.study.bias_variance(training(), RUNS, loss="zero_one")
    return study(NET, rows(), key, rows()).predictions.sum(axis=(1, 2))


def learning_curve(key):
    return fn.study.learning_curve(training(), (12,), RUNS)(NET, rows(), key, rows()).scores["loss"][0]


def capacity_curve(key):
    study = fn.study.capacity_curve(lambda _: (training(), NET), (1,), RUNS)
    return study(rows(), key, rows()).scores["loss"][0]


def sweep_sizes(key):
    study = fn.study.sweep_sizes(lambda *widths: fn.MLP((3, *widths, 3)), training(), [(2,)], RUNS)
    return study(rows(), key, rows()).scores[0]


def learning_rate_range(key):
    study = fn.study.learning_rate_range(training, min_lr=1e-9, max_lr=1e-8, num_rates=2, num_repeats=RUNS)
    result = study(NET, rows(), key)
    np.testing.assert_allclose(result.losses[0], result.losses_at_init, rtol=1e-5)
    return result.losses_at_init


STUDIES = [
    ensemble, cross_validate, bias_variance, learning_curve, capacity_curve, sweep_sizes,
    learning_rate_range,
]  # fmt: skip


@pytest.mark.parametrize("study", STUDIES)
def test_each_run_has_its_own_start(study):
    starts = np.asarray(study(cached_key(7)))
    assert len(np.unique(starts)) == RUNS
    assert not np.isin(starts, np.asarray(study(jax.random.key(8)))).any()

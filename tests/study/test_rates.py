"""The range test finds where training diverges; its trainings are those of each rate alone."""

import jax
import numpy as np
import optax
import pytest
from tables import MODELS

import funcnet as fn
from funcnet.study import LearningRateRangeResult

KEY = jax.random.key(8)
ROW = MODELS["mlp"]
DATA = ROW.rows(20)


def short(rate):
    return fn.fit(ROW.loss(), optax.sgd(rate), epochs=2, batch_size=8)


def test_a_quadratic_diverges_at_two_over_its_curvature():
    """loss = 3/2 · w², gradient 3 w: descent converges below a rate of 2/3 and is fastest at 1/3."""

    def loss(w, example, key):
        return 1.5 * w**2 + 0 * example

    test = fn.study.learning_rate_range(
        lambda rate: fn.fit(loss, optax.sgd(rate), epochs=30, batch_size=4), low=0.01, high=10.0, rates=40
    )
    found = test(np.float32(1.0), np.zeros(4, np.float32), KEY)
    assert 2 / 3 < found.diverges < 2 / 3 * 10 ** (3 / 39)
    assert 0.15 < found.suggestion <= found.diverges / 3
    assert found.before == pytest.approx(1.5)
    assert np.isinf(found.losses[-1]).all()


def test_a_training_that_would_stop_early_has_not_diverged():
    def stopping(rate):
        early = fn.EarlyStopping("loss", patience=1, min_delta=1.0)
        return fn.fit(ROW.loss(), optax.sgd(rate), epochs=4, batch_size=8, stopping=early)

    found = fn.study.learning_rate_range(stopping, low=1e-3, high=1e-2, rates=2)(ROW.net, DATA, KEY)
    assert np.isfinite(found.losses).all()


@pytest.mark.slow
def test_each_training_is_its_own_alone():
    study = fn.study.learning_rate_range(short, low=1e-3, high=0.1, rates=3, starts=2)
    found = study(ROW.net, DATA, KEY)
    assert found.losses.shape == (3, 2)
    assert found.before.shape == (2,)
    other = fn.study.learning_rate_range(short, low=1e-3, high=0.1, rates=2, starts=2)(ROW.net, DATA, KEY)
    np.testing.assert_allclose(other.losses, found.losses[[0, 2]], rtol=1e-4)
    assert found.losses[0, 0] != found.losses[0, 1]


def test_a_suggestion_stays_away_from_divergence():
    rates, before = np.array([0.1, 0.2, 0.5, 1.0]), np.ones(3)
    losses = np.array([[0.5] * 3, [0.4] * 3, [0.1] * 3, [0.2, np.inf, np.inf]])
    found = LearningRateRangeResult(rates, losses, before)
    assert found.diverges == 1.0
    assert found.suggestion == 0.2
    tame = LearningRateRangeResult(rates, np.array([[0.5], [0.4], [0.1], [0.2]]), before)
    assert tame.diverges == np.inf
    assert tame.suggestion == 0.5
    with pytest.raises(ValueError, match="test lower ones"):
        _ = LearningRateRangeResult(rates, np.full((4, 3), np.inf), before).suggestion


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fn.study.learning_rate_range(0.1), TypeError, "make_train must be"),
        (lambda: fn.study.learning_rate_range(short, low=1.0, high=0.1), ValueError, "low below high"),
        (lambda: fn.study.learning_rate_range(short, rates=1), ValueError, "two rates"),
        (lambda: fn.study.learning_rate_range(short, low=0.0), ValueError, "low"),
        (lambda: fn.study.learning_rate_range(lambda r: 3)(ROW.net, DATA, KEY), TypeError, "train must be"),
        (lambda: fn.study.learning_rate_range(short)(ROW.net, DATA, 3), TypeError, "jax.random.key"),
    ],
)
def test_wrong_use_gets_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()

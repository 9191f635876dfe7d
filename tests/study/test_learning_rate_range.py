"""The range test finds where training diverges; its runs are those of each rate alone."""

import jax
import numpy as np
import optax
import pytest
from tables import MODELS

import funcnet as fn
from funcnet.study import LearningRateRangeResult

ROW = MODELS["linear-regression"]


def the_key():
    return jax.random.key(8)


def short(rate):
    return fn.fit(ROW.loss(), optax.sgd(rate), epochs=2, batch_size=8)


def ranged(make_train, key):
    return fn.study.learning_rate_range(make_train)(ROW.net, ROW.rows(20), key)


def test_a_quadratic_diverges_at_two_over_its_curvature():
    """loss = 3/2 · w², gradient 3 w: descent converges below a rate of 2/3 and is fastest at 1/3."""

    def loss(w, example, key):
        return 1.5 * w**2 + 0 * example

    study = fn.study.learning_rate_range(
        lambda rate: fn.fit(loss, optax.sgd(rate), epochs=30, batch_size=4, shuffle=False),
        min_lr=0.01,
        max_lr=10.0,
        num_rates=40,
    )
    found = study(np.float32(1.0), np.zeros(4, np.float32), the_key())
    assert 2 / 3 < found.min_diverging_rate < 2 / 3 * 10 ** (3 / 39)
    assert 0.15 < found.suggestion <= found.min_diverging_rate / 3
    assert found.losses_at_init == pytest.approx(1.5)
    assert np.isinf(found.losses[-1]).all()
    assert {found.losses.dtype, found.losses_at_init.dtype} == {np.dtype(np.float64)}


def test_a_training_that_would_stop_early_has_not_diverged():
    def stopping(rate):
        early = fn.EarlyStopping("loss", patience=1, min_delta=1.0)
        return fn.fit(ROW.loss(), optax.sgd(rate), epochs=4, batch_size=8, shuffle=False, stopping=early)

    found = fn.study.learning_rate_range(stopping, min_lr=1e-3, max_lr=1e-2, num_rates=2)(
        ROW.net, ROW.rows(20), the_key()
    )
    assert np.isfinite(found.losses).all()


@pytest.mark.slow
def test_each_training_is_its_own_alone():
    study = fn.study.learning_rate_range(short, min_lr=1e-3, max_lr=0.1, num_rates=3, num_repeats=2)
    found = study(ROW.net, ROW.rows(20), the_key())
    assert found.losses.shape == (3, 2)
    assert found.losses_at_init.shape == (2,)
    other = fn.study.learning_rate_range(short, min_lr=1e-3, max_lr=0.1, num_rates=2, num_repeats=2)(
        ROW.net, ROW.rows(20), the_key()
    )
    np.testing.assert_allclose(other.losses, found.losses[[0, 2]], rtol=1e-4)
    assert found.losses[0, 0] != found.losses[0, 1]


def test_a_suggestion_stays_away_from_divergence():
    rates, before = np.array([0.1, 0.2, 0.5, 1.0]), np.ones(3)
    losses = np.array([[0.5] * 3, [0.4] * 3, [0.1] * 3, [0.2, np.inf, np.inf]])
    found = LearningRateRangeResult(rates, losses, before)
    assert found.min_diverging_rate == 1.0
    assert found.suggestion == 0.2
    tame = LearningRateRangeResult(rates, np.array([[0.5], [0.4], [0.1], [0.2]]), before)
    assert tame.min_diverging_rate == np.inf
    assert tame.suggestion == 0.5
    with pytest.raises(ValueError, match="Test lower ones: min_lr"):
        _ = LearningRateRangeResult(rates, np.full((4, 3), np.inf), before).suggestion


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fn.study.learning_rate_range(0.1), TypeError, "make_train must be"),
        (
            lambda: fn.study.learning_rate_range(short, min_lr=1.0, max_lr=0.1),
            ValueError,
            "min_lr below max_lr",
        ),
        (
            lambda: fn.study.learning_rate_range(short, num_rates=1),
            ValueError,
            "num_rates must be at least 2",
        ),
        (lambda: fn.study.learning_rate_range(short, min_lr=0.0), ValueError, "min_lr"),
        (
            lambda: fn.study.learning_rate_range(lambda r: 3)(ROW.net, ROW.rows(20), the_key()),
            TypeError,
            "train must be",
        ),
        (
            lambda: fn.study.learning_rate_range(short)(ROW.net, ROW.rows(20), 3),
            TypeError,
            "jax.random.key",
        ),
    ],
)
def test_wrong_use_gets_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()

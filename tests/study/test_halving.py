"""A trial that continues is its whole run; the worse ones stop; all rungs are one program."""

import dataclasses
import functools

import chex
import jax
import numpy as np
import optax
import pytest
from tables import assert_close

import funcnet as fn
from funcnet import _keys

X = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)
DATA = X, X @ np.float32([1, -2])
VALID = X[:6] + 1, (X[:6] + 1) @ np.float32([1, -2])
NET = fn.models.LinearRegression(2)
LOSS = fn.losses.supervised(fn.losses.squared_error)
RATES = [0.001, 0.01, 0.03, 0.1, 0.2]


def the_key(seed=3):
    return jax.random.key(seed)


def given(net=NET):
    return net, DATA, the_key(), VALID


def of_schedule(rate, epochs=8, **settings):
    """The learning rate falls to 0 in the last step, so a run of fewer epochs has other steps."""
    schedule = lambda steps: optax.adam(lambda step: rate * (1 - step / steps))  # noqa: E731
    return fn.fit(LOSS, schedule, epochs=epochs, batch_size=4, **settings)


def halving(make_train=of_schedule, settings=None, **arguments):
    return fn.study.halving(make_train, settings or {"rate": RATES}, **{"factor": 2, **arguments})


@functools.cache
def scheduled():
    return halving()(*given())


def rungs(result):
    return [(rung.epochs, rung.trials.tolist()) for rung in result.rungs]


def test_the_winner_is_its_own_fit():
    result = scheduled()
    winner = result.order[0]
    model = NET.init(_keys.fold_in_name(the_key(), "init"))
    run = of_schedule(**result.best)(model, DATA, _keys.fold_in_name(the_key(), "train"), VALID)
    assert_close(result.run(winner).model, run.model, 5)
    assert_close(dict(result.run(winner).history), dict(run.history), 5)
    assert result.run(winner).outcome is run.outcome is fn.Outcome.FINISHED
    assert result.scores[winner] == pytest.approx(float(run.history["val_loss"][-1]), rel=1e-5)


def test_each_rung_is_a_sweep_cut_after_its_epochs():
    result = scheduled()
    history = fn.study.sweep(of_schedule, {"rate": RATES})(*given()).runs[0].history["val_loss"]
    trials, before = np.arange(5), np.zeros(5)
    for rung, size in zip(result.rungs, (5, 3, 2, 1), strict=True):
        cut = np.asarray(history)[:, rung.epochs - 1]
        if rung.epochs > 1:
            trials = np.sort(trials[np.argsort(before[trials], kind="stable")[:size]])
        assert rung.trials.tolist() == trials.tolist()
        np.testing.assert_allclose(rung.scores, cut[trials], rtol=1e-5)
        before = cut
    assert [rung.epochs for rung in result.rungs] == [1, 2, 4, 8]


def test_a_trial_that_was_stopped_says_how_far_it_got():
    result = scheduled()
    first = next(iter(set(range(5)) - set(result.rungs[1].trials.tolist())))
    run = result.run(first)
    assert run.outcome is fn.Outcome.RUNNING
    assert np.isfinite(run.history["val_loss"]).sum() == result.epochs[first] == 1
    assert int(run.state.epoch) == 1
    assert result.order.tolist()[:1] == result.rungs[-1].trials.tolist()
    assert (np.diff(result.epochs[result.order]) <= 0).all()
    assert result.best == result.trials[result.order[0]]


@pytest.mark.parametrize(
    ("epochs", "every", "trials", "factor", "least", "expected"),
    [
        (81, 1, 256, 3, 1, [(1, 256), (3, 86), (9, 29), (27, 10), (81, 4)]),
        (100, 1, 20, 3, 5, [(11, 20), (33, 7), (100, 3)]),
        (7, 1, 7, 2, 1, [(1, 7), (3, 4), (7, 2)]),
        (1000, 1, 3, 2, 1, [(250, 3), (500, 2), (1000, 1)]),
        (10, 4, 9, 3, 1, [(4, 9), (10, 3)]),
        (40, 5, 16, 4, 6, [(10, 16), (40, 4)]),
    ],
)
def test_rungs_end_at_evaluations_and_keep_one_trial_in_factor(
    epochs, every, trials, factor, least, expected
):
    study = halving(lambda rate: None, {"rate": [0.1, 0.2]}, factor=factor, min_epochs=least)
    assert study._rungs(epochs, every, trials) == expected
    make = lambda rate: of_schedule(rate, epochs, eval_every=every)  # noqa: E731
    study = halving(make, {"rate": np.linspace(0.1, 1, trials).tolist()}, factor=factor, min_epochs=least)
    assert study.num_members == sum(size for _, size in expected)


def test_trials_that_are_not_finite_do_not_continue():
    def make(rate):
        return fn.fit(LOSS, optax.sgd(rate), epochs=4, batch_size=12, shuffle=False, on_nan="ignore")

    result = halving(make, {"rate": [np.nan, 1e30, np.inf, 0.01]})(*given())
    assert rungs(result) == [(1, [0, 1, 2, 3]), (2, [3]), (4, [3])]
    assert result.order.tolist() == [3, 0, 1, 2]
    none = halving(make, {"rate": [np.nan, np.inf]})(*given())
    assert rungs(none) == [(2, [0, 1])]
    with pytest.raises(ValueError, match="no trial has a finite score"):
        _ = none.best


def test_ties_continue_in_the_order_of_their_numbers():
    study, scores = halving(mode="max"), np.array([0.5, 0.7, 0.5, np.inf, 0.7])
    assert study._select(scores, np.arange(5), 3).tolist() == [0, 1, 4]
    assert study._select(scores, np.array([0, 2, 3]), 1).tolist() == [0]
    assert halving()._select(scores, np.arange(5), 3).tolist() == [0, 1, 2]


def test_rungs_are_one_program_that_a_second_call_does_not_trace():
    chex.clear_trace_counter()

    @chex.assert_max_traces(n=8)  # for checks and shapes, the start, a step and two evaluations
    def loss(model, example, key):
        return LOSS(model, example, key)

    def make(rate, kind):
        return fn.fit(loss, optax.sgd(rate), epochs=8, batch_size=4, shuffle=False)

    # A program for each kind; how many of its trials continue is not part of it.
    settings = {"rate": RATES, "kind": ["a"]}
    study = halving(make, settings)
    study(*given())
    study(NET, DATA, the_key(5), VALID)
    assert [program._cache_size() for program in study._programs.values()] == [2, 0]  # with the start


@pytest.mark.slow
def test_settings_that_cannot_be_traced_compete_with_all_others():
    made = {"sgd": optax.sgd, "adam": optax.adam}

    def make(rate, optimizer):
        return fn.fit(LOSS, made[optimizer](rate), epochs=4, batch_size=4)

    result = halving(make, {"rate": [0.001, 0.1], "optimizer": ["adam", "sgd"]})(*given())
    assert len(result.runs) == 2
    assert [len(rung.trials) for rung in result.rungs] == [4, 2, 1]
    assert result.best == {"rate": 0.1, "optimizer": "sgd"}
    expected = fn.study.sweep(make, {"rate": [0.1], "optimizer": ["sgd"]})(*given())
    assert_close(result.run(result.order[0]).model, expected.run(0).model, 5)


@pytest.mark.parametrize(
    "settings",
    [
        {"stopping": fn.EarlyStopping(patience=1)},
        pytest.param({"ema": 0.5, "eval_every": 3}, marks=pytest.mark.slow),
        pytest.param({"accumulate": 2, "shuffle": False}, marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_every_trial_of_the_last_rung_is_that_of_a_sweep(settings):
    make = functools.partial(of_schedule, **settings)
    result = halving(lambda rate: make(rate))(*given())
    expected = fn.study.sweep(lambda rate: make(rate), {"rate": RATES})(*given())
    assert len(result.rungs) > 1
    for trial in result.rungs[-1].trials:
        assert_close(result.run(trial).model, expected.run(trial).model, 20)
        assert_close(dict(result.run(trial).history), dict(expected.run(trial).history), 20)
        assert result.run(trial).outcome is expected.run(trial).outcome
        assert result.scores[trial] == pytest.approx(expected.scores[trial], rel=1e-5)


@pytest.mark.slow
def test_many_small_trials_over_devices_end_in_the_numbers_of_one():
    settings = {"rate": np.geomspace(1e-3, 0.3, 40).tolist()}  # enough for `vmap_last`
    study = halving(settings=settings, progress=(done := []).append)
    expected = study(*given())
    assert sum(done) == study.num_members == 40 + 20 + 10 + 5
    for devices in (2, 3):
        with fn.mesh.use(devices):
            result = study(*given())
        assert rungs(result) == rungs(expected)
        assert_close(result.scores, expected.scores, 20)
        assert_close(result.runs[0].model, expected.runs[0].model, 20)


def test_a_trial_that_diverged_late_is_behind_those_that_were_stopped():
    first = fn.study.Rung(1, np.arange(3), np.array([0.3, 0.2, 0.1]))
    last = fn.study.Rung(2, np.array([1, 2]), np.array([0.1, np.nan]))
    trials = [{"rate": rate} for rate in (0.1, 0.2, 0.3)]
    result = fn.study.HalvingResult(trials, [0.3, 0.1, np.nan], "min", [], [], [first, last])
    assert result.order.tolist() == [1, 0, 2]
    assert result.best == {"rate": 0.2}


def test_trials_that_stopped_by_themselves_count_their_own_epochs():
    stopping = fn.EarlyStopping(patience=1, min_delta=100.0)  # nothing is an improvement
    result = halving(functools.partial(of_schedule, stopping=stopping))(*given())
    assert rungs(result)[-1][0] == 8
    assert set(result.epochs.tolist()) == {1, 2}
    assert result.order[0] in result.rungs[-1].trials


def test_a_table_shows_epochs():
    text = scheduled()._repr_html_()
    assert "epochs" in text
    assert "5 trials, the best first (min of the score)" in text


def longer(rate, epochs):
    return of_schedule(rate, epochs)


WRONG = {
    "a factor of one": (lambda: halving(factor=1), ValueError, "factor must be at least 2, got 1"),
    "half a factor": (lambda: halving(factor=2.5), TypeError, "factor must be an integer"),
    "no epochs": (lambda: halving(min_epochs=0), ValueError, "min_epochs must be at least 1"),
    "one trial": (lambda: halving(settings={"rate": [0.1]}), ValueError, "at least 2 trials, got 1"),
    "one sample": (lambda: halving(num_samples=1), ValueError, "num_samples must give at least 2 trials"),
    "too few epochs": (
        lambda: halving(min_epochs=5)(*given()),
        ValueError,
        r"epochs must be at least 10, factor \* min_epochs, got 8: no trial would be stopped",
    ),
    "other epochs": (
        lambda: halving(longer, {"rate": [0.1], "epochs": [4, 8]})(*given()),
        ValueError,
        "epochs must be the same for all trials, got 4 and 8",
    ),
    "a function without epochs": (
        lambda: halving(lambda rate: lambda model, data, key: model)(*given()),
        TypeError,
        "the result of make_train must be a function returned by fn.fit",
    ),
    "a Trainer": (
        lambda: halving(lambda rate: fn.Trainer(of_schedule(rate)))(*given()),
        TypeError,
        "the result of make_train must be a function returned by fn.fit",
    ),
    "a setting that is branched on": (
        lambda: halving(lambda rate: of_schedule(rate if rate > 0.01 else 0.01))(*given()),
        TypeError,
        "the setting rate of make_train must be one that can be traced",
    ),
    "an unknown value": (lambda: halving(monitor="val_f1")(*given()), ValueError, "'val_f1'"),
    "a traced key": (
        lambda: jax.jit(lambda key: halving()(NET, DATA, key, VALID).scores)(the_key()),
        TypeError,
        "halving runs on the host",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()


def test_settings_are_fields():
    study = halving(min_epochs=2)
    assert dataclasses.replace(study, factor=4).factor == 4
    assert (study.factor, study.min_epochs, study.num_trials) == (2, 2, 5)

"""Gradients through runs are those of central differences; descending along them finds better ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS

import funcnet as fn

ROW = MODELS["mlp"]
LINE = MODELS["linear-regression"]  # compiles faster


def the_key():
    return jax.random.key(4)


@functools.cache
def rows(n, row=ROW):
    x, y = row.rows(n, seed=n)
    return fn.data.Dataset(
        (np.asarray(x, np.float32), np.asarray(y, np.int32 if row is ROW else np.float32))
    )


def given():
    return ROW.init(), rows(20), the_key(), rows(12)


def of_line():
    """A line that is not trained yet, its rows, a key and more rows."""
    return LINE.init(), rows(20, LINE), the_key(), rows(12, LINE)


def make_train(hyper, row=ROW):
    optimizer = optax.adamw(hyper["learning_rate"], weight_decay=hyper["decay"], eps_root=1e-12)
    return fn.fit(row.loss(), optimizer, epochs=3, batch_size=8, shuffle=False)


make_line = functools.partial(make_train, row=LINE)


HYPER = {"learning_rate": 0.02, "decay": 0.3}


def wide(tree):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)


@pytest.mark.slow  # a law of the quick suite differentiates a whole training
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_rate_and_decay_agree_with_central_differences(mode):
    with jax.enable_x64(True):
        model, data, valid = map(wide, (ROW.init(), rows(20), rows(12)))
        study = fn.study.hyper_gradient(make_train, mode=mode)
        value, slope = study(HYPER, model, data, the_key(), valid)

        def trained(**changes):
            hyper = jax.tree.map(jnp.asarray, HYPER | changes)
            found = study._run(None, hyper, model, data, the_key(), valid)[0]
            return float(found)

        assert value.dtype == jnp.float64
        for name, at in HYPER.items():
            step = 1e-5 * at
            rise = (trained(**{name: at + step}) - trained(**{name: at - step})) / (2 * step)
            assert float(slope[name]) == pytest.approx(rise, rel=1e-5)


@pytest.mark.slow
def test_weights_of_ten_examples_agree_with_central_differences():
    train = make_train(HYPER)

    def weighted(weight):
        return lambda model, data, key, valid: train(
            model, fn.data.Dataset(data.arrays, weight=weight), key, valid
        )

    with jax.enable_x64(True):
        model, data, valid = map(wide, (ROW.init(), rows(20), rows(12)))
        study = fn.study.hyper_gradient(weighted, lambda run: run.history["val_loss"][-1])
        weight = jnp.ones(len(data))
        _, slope = study(weight, model, data, the_key(), valid)
        for row in np.random.default_rng(0).choice(len(data), 10, replace=False):
            up, down = (
                float(study(weight.at[row].add(by), model, data, the_key(), valid)[0])
                for by in (1e-4, -1e-4)
            )
            assert float(slope[row]) == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-9)


@pytest.mark.slow
def test_a_schedule_and_the_start_are_hyper_parameters():
    def scheduled(rates):
        optimizer = optax.sgd(lambda count: rates[count // 3])
        return fn.fit(ROW.loss(), optimizer, epochs=3, batch_size=8, shuffle=False)

    _, slope = fn.study.hyper_gradient(scheduled)(jnp.array([0.1, 0.05, 0.01]), *given())
    assert slope.shape == (3,)
    train = make_train(HYPER)

    def from_start(start):
        return lambda model, data, key, valid: train(start, data, key, valid)

    last = fn.study.hyper_gradient(from_start, lambda run: run.history["val_loss"][-1])
    _, slope = last(ROW.init(), None, rows(20), the_key(), rows(12))
    assert jax.tree.structure(slope) == jax.tree.structure(ROW.init())


@pytest.mark.slow
def test_reverse_memory_grows_by_a_state_for_each_epoch():
    """Kept for the way back: the state at each epoch's start, and one epoch's steps. Nothing else grows."""

    def memory(epochs, mode):
        def make_train(rate):
            return fn.fit(ROW.loss(), optax.sgd(rate), epochs=epochs, batch_size=2, shuffle=False)

        study = fn.study.hyper_gradient(make_train, mode=mode)
        lowered = study._programs[False].lower(None, 1, jnp.array(0.1), *given())
        return lowered.compile().memory_analysis().temp_size_in_bytes

    state = sum(leaf.nbytes for leaf in jax.tree.leaves(ROW.init()))
    grown = (memory(40, "reverse") - memory(20, "reverse")) / 20
    assert state <= grown < 2.5 * state
    assert memory(40, "forward") - memory(20, "forward") < 20 * state / 4


@pytest.mark.slow
def test_a_second_call_traces_nothing():
    traced = []

    def counted(hyper):
        traced.append(None)
        return make_train(hyper)

    study = fn.study.hyper_gradient(counted)
    first = study(HYPER, ROW.net, rows(20), the_key(), rows(12))[0]
    seen = len(traced)
    second = study(HYPER | {"decay": 0.1}, ROW.net, rows(20), jax.random.key(9), rows(12))[0]
    assert len(traced) == seen + 1  # for the checks, not in the program
    assert first != second


def test_stopping_goes_forward_by_itself():
    def stopped(rate):
        stopping = fn.EarlyStopping(patience=1)
        return fn.fit(
            LINE.loss(), optax.sgd(rate), epochs=3, batch_size=8, shuffle=False, stopping=stopping
        )

    _, slope = fn.study.hyper_gradient(stopped)(0.1, *of_line())
    assert np.isfinite(slope)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fn.study.hyper_gradient(3), TypeError, "make_train must be"),
        (
            lambda: fn.study.hyper_gradient(make_train, "loss"),
            ValueError,
            "metric must name a value on the validation",
        ),
        (lambda: fn.study.hyper_gradient(make_train, mode="both"), ValueError, "mode must be"),
        (lambda: run(make_line, {"learning_rate": 1, "decay": 0.1}), TypeError, "learning_rate"),
        (lambda: run(make_line, {}), ValueError, "hyperparams must hold"),
        (lambda: run(lambda rate: 3, 0.1), TypeError, "the result of make_train"),
        (
            lambda: run(lambda rate: lambda *args: make_line(HYPER)(*args), 0.1),
            TypeError,
            "metric=lambda run",
        ),
        (lambda: run(make_line, HYPER, "val_accurancy"), ValueError, "val_accurancy"),
        (lambda: run(make_line, HYPER | {"learning_rate": 1e30}), FloatingPointError, "diverged"),
        (lambda: fn.study.tune(make_train, steps=0), ValueError, "steps"),
        (lambda: tuned(HYPER | {"decay": 0.0}), ValueError, "logarithm"),
        (lambda: tuned(HYPER, log={"decay": True}), ValueError, "log must be one boolean"),
    ],
)
def test_wrong_use_gets_one_clear_error(call, error, words):
    with pytest.raises(error, match=words):
        call()


def run(make_train, hyper, metric="val_loss"):
    return fn.study.hyper_gradient(make_train, metric)(hyper, *of_line())


def tuned(hyper, **settings):
    return fn.study.tune(make_line, **settings)(hyper, *of_line())


@pytest.mark.slow
def test_tuning_lowers_the_metric_and_keeps_the_best():
    found = fn.study.tune(make_train, steps=6, optimizer=optax.adam(0.5))(
        {"learning_rate": 1e-3, "decay": 0.01}, ROW.net, rows(20), the_key(), rows(12)
    )
    assert found.best_value == jnp.nanmin(found.values)
    assert found.best_value < found.values[0]
    best = int(jnp.argmin(found.values))
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.isclose(a[best], b), found.path, found.best))
    again = fn.study.hyper_gradient(make_train)(found.best, ROW.net, rows(20), the_key(), rows(12))[0]
    assert float(again) == pytest.approx(float(found.best_value), rel=1e-4)


def descent(hyper):
    return fn.fit(
        LINE.loss(), optax.sgd(hyper["rate"].astype(jnp.float32)), epochs=1, batch_size=8, shuffle=False
    )


def test_a_gradient_has_the_dtype_of_its_hyper_parameter():
    _, slope = fn.study.hyper_gradient(descent)({"rate": jnp.bfloat16(0.1)}, *of_line())
    assert slope["rate"].dtype == jnp.bfloat16


def tune_one_epoch(optimizer, rate, data, steps=2):
    loss = fn.losses.supervised(fn.losses.squared_error)
    study = fn.study.tune(
        lambda rate: fn.fit(loss, optimizer(rate), epochs=1, batch_size=8, shuffle=False), steps=steps
    )
    return study(rate, fn.models.LinearRegression(data[0].shape[1]), data, the_key(), data)


# A pixel that is always 0 has no gradient, of which Adam takes a square root.
DEAD_PIXEL = np.ones((8, 2), np.float32) * np.float32([1, 0]), np.ones(8, np.float32)


def test_tuning_that_finds_nothing_finite_says_so():
    with pytest.raises(FloatingPointError, match="no run ended with a finite metric"):
        tune_one_epoch(optax.sgd, 1e30, (np.ones((8, 1), np.float32), np.ones(8, np.float32)))


def test_tuning_that_can_not_leave_its_best_point_says_so():
    with pytest.raises(FloatingPointError, match=r"derivative at the best hyperparameters.*eps_root=1e-8"):
        tune_one_epoch(optax.adam, 0.1, DEAD_PIXEL)


def test_the_last_step_of_tuning_needs_no_derivative():
    assert tune_one_epoch(optax.adam, 0.1, DEAD_PIXEL, steps=1).best == pytest.approx(0.1)


def test_a_metric_that_is_better_when_larger_is_not_minimized():
    with pytest.raises(ValueError, match="metric must be one that is minimized, got 'val_r2'"):
        fn.study.tune(lambda rate: None, "val_r2")


@pytest.mark.slow
def test_tuning_comes_back_from_divergence():
    def make_train(rate):
        return fn.fit(ROW.loss(), optax.sgd(rate), epochs=2, batch_size=8, shuffle=False)

    found = fn.study.tune(make_train, steps=4, optimizer=optax.sgd(1e6))(0.1, *given())
    assert not jnp.isfinite(found.values).all()
    assert jnp.isfinite(found.best_value)
    assert found.best_value == found.values[0]

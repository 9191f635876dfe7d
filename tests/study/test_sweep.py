"""Each trial is its training alone; what may be traced compiles once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close

import funcnet as fn
from funcnet import _keys

ROW = MODELS["mlp"]


def the_key():
    return jax.random.key(6)


@functools.cache
def rows(valid):
    return tuple(map(np.asarray, ROW.rows(12, seed=1) if valid else ROW.rows(20)))


def given(net=ROW.net, key=None):
    return net, rows(valid=False), the_key() if key is None else key, rows(valid=True)


def make_train(learning_rate, decay=0.0):
    optimizer = optax.adamw(learning_rate, weight_decay=decay)
    return fn.fit(ROW.loss(), optimizer, epochs=3, batch_size=8, stopping=fn.EarlyStopping(patience=1))


GRID = {"learning_rate": [1e-3, 0.05, 0.3], "decay": [0.0, 0.5]}


@pytest.mark.slow
def test_each_trial_is_its_training_alone_and_the_best_is_best():
    found = fn.study.sweep(make_train, GRID)(*given())
    assert len(found.trials) == 6
    for number, settings in enumerate(found.trials):
        run = found.run(number)
        score = fn.evaluate(ROW.loss(), run.model, rows(valid=True))["loss"]
        assert found.scores[number] == pytest.approx(float(score), rel=1e-4)
        if number in (0, 5):
            alone = fn.study.sweep(make_train, {n: [v] for n, v in settings.items()})
            assert_close(run.model, alone(*given()).run(0).model, 50)
    assert found.best == found.trials[int(np.argmin(found.scores))]
    assert found.order[0] == np.argmin(found.scores)


@pytest.mark.slow
def test_floats_are_traced_once_and_sizes_are_grouped():
    made = []

    def sized(learning_rate, width):
        made.append(width)
        return make_train(learning_rate), fn.MLP((3, width, 3))

    settings = {"learning_rate": [0.01, 0.1], "width": [2, 5]}
    found = fn.study.sweep(sized, settings, monitor="val_accuracy", mode="max")(*given(None))
    assert len(found.runs) == 2
    assert [run.model.layers[0].weight.shape for run in found.runs] == [(2, 3, 2), (2, 3, 5)]
    widths = [found.run(i).model.layers[0].weight.shape[1] for i in range(4)]
    assert widths == [trial["width"] for trial in found.trials]
    assert found.best == found.trials[int(np.argmax(found.scores))]
    assert set(made) == {2, 5}


@pytest.mark.slow
def test_samples_are_some_of_the_combinations_without_repetition():
    found = fn.study.sweep(make_train, GRID, num_samples=3)(*given())
    assert len({tuple(trial.items()) for trial in found.trials}) == 3


def test_a_trial_that_diverged_is_never_best():
    row = MODELS["linear-regression"]

    def diverging(learning_rate):
        return fn.fit(
            row.loss(), optax.sgd(learning_rate), epochs=2, batch_size=8, shuffle=False, on_nan="ignore"
        )

    study = fn.study.sweep(diverging, {"learning_rate": [float("nan"), 0.1]})
    found = study(row.net, row.rows(20), the_key(), row.rows(12, seed=1))
    assert np.isnan(found.scores[0])
    assert found.best == {"learning_rate": 0.1}


def test_samples_of_many_combinations_are_drawn_without_making_all():
    settings = {name: list(range(20)) for name in "abcde"}
    study = fn.study.sweep(lambda **settings: None, settings, num_samples=3)
    drawn = study._trials(the_key())
    few = fn.study.sweep(lambda **settings: None, {"a": [1, 2], "b": [3, 4, 5]}, num_samples=6)
    assert len({tuple(trial.values()) for trial in drawn}) == 3
    assert few._trials(the_key()) == [{"a": a, "b": b} for a in (1, 2) for b in (3, 4, 5)]


def test_values_are_told_apart_by_what_they_are():
    """Floats of numpy and JAX, and integers among them, are traced; others are fixed, by type too."""
    made = []

    def counted(learning_rate, kind):
        made.append((isinstance(learning_rate, jax.Array), kind))
        return fn.fit(row.loss(), optax.sgd(learning_rate), epochs=2, batch_size=8, shuffle=False)

    row, rates = MODELS["linear-regression"], [0, np.float32(0.01), jnp.array(0.1)]
    study = fn.study.sweep(counted, {"learning_rate": rates, "kind": [1, True]})
    found = study(row.net, row.rows(20), the_key(), row.rows(12, seed=1))
    assert [trial["kind"] for trial in found.trials] == [1, True] * 3
    assert {(kind, type(kind)) for _, kind in made} == {(1, int), (True, bool)}
    assert all(is_array for is_array, _ in made)
    assert len(found.runs) == 2


def test_dropouts_and_learning_rates_are_one_program_and_each_trial_is_its_fit():
    traces = []
    dropouts, rates = [0.0, 0.2, 0.5, 0.7], [0.01, 0.1, 0.3]
    settings = {"epochs": 2, "batch_size": 8, "shuffle": False}

    def loss(model, example, key):
        traces.append(None)
        return ROW.loss()(model, example, key)

    def make_train(dropout, rate):
        return fn.fit(loss, optax.sgd(rate), **settings), fn.MLP((3, 6, 3), dropout=dropout)

    study = fn.study.sweep(make_train, {"dropout": dropouts, "rate": rates})
    found = study(*given(None))
    assert len(found.runs) == study._programs[False]._cache_size() == 1
    before = len(traces)
    study(*given(None))
    assert len(traces) == before
    assert len(set(found.scores.tolist())) == 12

    @jax.jit
    def layers(rate):
        model = fn.MLP((3, 6, 3), dropout=0.5).init(_keys.fold_in_name(the_key(), "init"))
        train = fn.fit(ROW.loss(), optax.sgd(rate), **settings)
        return train(model, rows(valid=False), _keys.fold_in_name(the_key(), "train")).model.layers

    for i, rate in enumerate(rates, 3 * dropouts.index(0.5)):
        assert_close(found.run(i).model.layers, layers(rate), 5)


def test_a_setting_that_cannot_be_traced_is_named_before_anything_compiles():
    def sized(scale, rate):
        return fn.fit(ROW.loss(), optax.sgd(rate), epochs=1), fn.MLP((3, int(8 * scale), 3))

    def branching(threshold, rate):
        def loss(model, example, key):
            value, metrics = ROW.loss()(model, example, key)
            return (value if threshold > 0.5 else 2 * value), metrics

        return fn.fit(loss, optax.sgd(rate), epochs=1)

    for make_train, name in ((sized, "scale"), (branching, "threshold")):
        study = fn.study.sweep(make_train, {"rate": [0.1, 0.2], name: [0.5, 1.0]})
        with pytest.raises(TypeError, match=f"the setting {name} of make_train must be one that can be"):
            study(*given())


def test_where_all_trials_diverged_none_is_best():
    found = fn.study.SweepResult([{"rate": 1.0}], np.array([np.inf]), "min", [], [(0, 0)])
    with pytest.raises(ValueError, match=r"no trial has a finite score, got \[inf\]"):
        _ = found.best


WRONG = {
    "sizes in lists": (
        lambda: fn.study.sweep(make_train, {"hidden": [[4], [8]]}),
        TypeError,
        r"got list .* for hidden\. Write sizes as tuples: hidden=\[\(4,\), \(8, 8\)\]",
    ),
    "samples in text": (
        lambda: fn.study.sweep(make_train, GRID, num_samples="2"),
        TypeError,
        "num_samples",
    ),
    "no progress": (lambda: fn.study.sweep(make_train, GRID, progress="yes"), TypeError, "progress"),
    "a traced key": (
        lambda: jax.jit(lambda key: fn.study.sweep(make_train, GRID)(*given(key=key)).scores)(the_key()),
        TypeError,
        "sweep runs on the host",
    ),
    "no values": (
        lambda: fn.study.sweep(make_train, {"learning_rate": []}),
        ValueError,
        "a list of values",
    ),
    "no settings": (lambda: fn.study.sweep(make_train, {}), ValueError, "no settings to sweep over"),
    "training rows": (
        lambda: fn.study.sweep(make_train, GRID, monitor="loss"),
        ValueError,
        "such as 'val_loss', got 'loss'",
    ),
    "the worst accuracy": (
        lambda: fn.study.sweep(make_train, GRID, monitor="val_accuracy"),
        ValueError,
        "mode='max'",
    ),
    "too many samples": (lambda: fn.study.sweep(make_train, GRID, num_samples=7), ValueError, "at most 6"),
    "no network": (
        lambda: fn.study.sweep(make_train, GRID)(*given(None)),
        TypeError,
        "net must be a module with an init",
    ),
    "no training": (
        lambda: fn.study.sweep(lambda learning_rate: 3, {"learning_rate": [0.1]})(*given()),
        TypeError,
        "train must be a function returned by fn.fit, got int 3",
    ),
    "an unknown value": (
        lambda: fn.study.sweep(make_train, GRID, monitor="val_f1")(*given()),
        ValueError,
        "'val_f1'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()


@pytest.mark.slow
def test_a_second_sweep_compiles_nothing():
    made = []

    def counted(learning_rate):
        made.append(None)
        return make_train(learning_rate)

    study = fn.study.sweep(counted, {"learning_rate": [0.01, 0.1]})
    study(*given())
    seen = len(made)
    study(ROW.net, rows(valid=False), jax.random.key(1), rows(valid=True))
    assert len(made) == seen + 1  # for the checks, not in the program


def test_a_rate_of_dropout_has_no_derivative():
    def kept(rate):
        return fn.Dropout(rate)(jnp.ones(4), key=the_key()).sum()

    assert jax.jit(kept)(0.5) == kept(0.5)
    for derivative in (jax.grad(kept), jax.jacfwd(kept), jax.grad(jax.jit(kept))):
        with pytest.raises(TypeError, match="the rate of a dropout has no derivative"):
            derivative(0.5)
    model = jax.jit(fn.Sequential(fn.Linear(2, 3), fn.Dropout(jnp.array(0.5))).init)(the_key())
    of_model = jax.jit(jax.grad(lambda model: model(jnp.ones(2), key=the_key()).sum()))
    slope = of_model(model)  # plain JAX on plain models
    assert slope[0].weight.any()


def test_values_that_are_traced_are_checked_as_numbers():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    data = x, (x[:, 0] > 0).astype(np.int32)

    def of_loss(smoothing):
        loss = fn.losses.supervised(functools.partial(fn.losses.cross_entropy, smoothing=smoothing))
        return fn.fit(loss, optax.sgd(0.1), epochs=1)

    def of_net(rate):
        train = fn.fit(fn.losses.supervised(fn.losses.cross_entropy), optax.sgd(0.1), epochs=1)
        return train, fn.Sequential(fn.Dropout(rate), fn.Linear(3, 2))

    for make_train, settings, name in (
        (of_loss, {"smoothing": [0.0, 0.1, 2.0]}, "smoothing"),
        (of_net, {"rate": [0.1, 1.5, 0.2]}, "rate"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be"):
            fn.study.sweep(make_train, settings)(fn.MLP((3, 2)), data, jax.random.key(0), data)

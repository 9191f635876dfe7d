"""A run that ended at a gradient that is not finite has no score: it did not train to the end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn

NET = fn.models.LinearRegression(1)
X = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
DATA = X, 2 * X[:, 0]


def make_train(fails, epochs=2):
    """A loss that is lower by 1 where its gradient is NaN."""

    def loss(model, example, key):
        x, y = example
        prediction = model(x)
        inside = jnp.where(jnp.asarray(fails) > 0, 0.0, 1.0) + 0 * prediction
        return (prediction - y) ** 2 + jnp.sqrt(inside)

    return fn.fit(loss, optax.sgd(0.1), epochs=epochs, batch_size=4)


def the_key():
    return jax.random.key(0)


def test_a_trial_that_failed_is_not_the_best():
    settings = {"fails": [0.0, 1.0]}
    for study in (fn.study.sweep(make_train, settings), fn.study.halving(make_train, settings, factor=2)):
        found = study(NET, DATA, the_key(), DATA)
        assert np.isnan(found.scores).tolist() == [False, True]
        assert found.best == {"fails": 0.0}


def test_a_best_epoch_that_is_restored_keeps_its_score():
    """The loss has no gradient once the weight is large, which is after the best epoch."""

    def loss(model, example, key):
        x, y = example
        prediction = model(x)
        return (prediction - y) ** 2 + 0 * jnp.sqrt(
            jnp.where(model.linear.weight[0] > 1.5, 0.0, 1.0) + 0 * prediction
        )

    for stopping in (fn.EarlyStopping(patience=50), None):
        train = fn.fit(loss, optax.sgd(0.1), epochs=30, batch_size=4, stopping=stopping)
        folds = fn.data.kfold(DATA, 3, the_key())
        found = fn.study.cross_validate(train, folds)(NET, the_key())
        assert {outcome.name for outcome in found.runs.outcome} == {"NOT_FINITE"}
        assert np.isfinite(found.scores["loss"]).all() == (stopping is not None)


def test_hyperparameters_of_a_run_that_failed_have_no_metric():
    with pytest.raises(FloatingPointError, match="the run diverged"):
        fn.study.hyper_gradient(make_train)(1.0, NET, DATA, the_key(), DATA)


@pytest.mark.parametrize("fails", [0.0, 1.0])
def test_scores_of_runs_that_failed_are_nan(fails):
    train, folds = make_train(fails), fn.data.kfold(DATA, 3, the_key())
    capacity = fn.study.capacity_curve(lambda size: (train, NET), [1], 2)(DATA, the_key(), DATA)
    rows = fn.study.learning_curve(train, [6], 2)(NET, DATA, the_key(), DATA)
    scores = [*capacity.scores.values(), *rows.scores.values()]
    scores += fn.study.cross_validate(train, folds)(NET, the_key()).scores.values()
    assert all(np.isnan(score).all() if fails else np.isfinite(score).all() for score in scores)


def test_bias_and_variance_of_models_that_failed_is_an_error():
    study = fn.study.bias_variance(make_train(1.0), 3)
    with pytest.raises(FloatingPointError, match="member 0 ended at a non-finite loss or gradient"):
        study(NET, DATA, the_key(), DATA)

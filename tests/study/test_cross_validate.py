"""Each fold is its training alone, on the right rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close

import funcnet as fn

ROW = MODELS["mlp"]
TRAIN = fn.fit(
    ROW.loss(),
    optax.sgd(0.5),
    epochs=4,
    batch_size=8,
    shuffle=False,
    stopping=fn.EarlyStopping(patience=1),
)


def the_key():
    return jax.random.key(5)


@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_scores_and_predictions_are_those_of_each_fold_alone(weighted):
    weight = np.random.default_rng(0).uniform(0.5, 2, 22).astype(np.float32) if weighted else None
    data = fn.data.Dataset(ROW.rows(22), weight=weight)
    folds = fn.data.kfold(data, 4, the_key(), stratify=data.arrays[1])
    found = fn.study.cross_validate(TRAIN, folds)(ROW.net, the_key())
    rows, predictions = found.out_of_fold()
    np.testing.assert_array_equal(rows, np.arange(22))
    models, scores = jax.device_get((found.runs.model, dict(found.scores)))
    for i, (_, valid) in enumerate(folds):
        model = jax.tree.map(lambda a, i=i: a[i], models)
        alone = fn.evaluate(ROW.loss(), model, valid)
        assert_close({name: score[i] for name, score in scores.items()}, alone, 20)
        own = np.unique(np.asarray(valid.rows)[np.asarray(valid.weights()) > 0])
        assert_close(predictions[own], np.asarray(fn.predict(model, data.arrays[0]))[own], 20)
    assert found.mean["loss"] == pytest.approx(float(found.scores["loss"].mean()))
    spread = np.asarray(found.scores["accuracy"]).std(ddof=1)
    assert float(found.standard_error["accuracy"]) == pytest.approx(spread / 2, rel=1e-5)


@pytest.mark.slow
def test_no_fold_trains_on_what_it_is_judged_by():
    """A model that remembers its rows knows nothing of those left out."""
    x = jnp.eye(12)
    folds = fn.data.kfold((x, jnp.arange(12.0)), 3, the_key())
    train = fn.fit(
        fn.losses.supervised(fn.losses.squared_error),
        optax.sgd(1.0),
        epochs=60,
        batch_size=12,
        shuffle=False,
    )
    start = fn.Linear(12, "scalar", use_bias=False, weight=jnp.zeros(12))
    rows, predictions = fn.study.cross_validate(train, folds)(start, the_key()).out_of_fold()
    np.testing.assert_array_equal(predictions, np.zeros(12))
    np.testing.assert_array_equal(rows, np.arange(12))


def test_wrong_use_is_refused():
    with pytest.raises(TypeError, match=r"folds must be a Folds, got int 5"):
        fn.study.cross_validate(TRAIN, 5)
    folds = fn.data.kfold((jnp.ones((6, 3)), jnp.array([0, 1, 2, 3, 0, 1])), 2, the_key())
    with pytest.raises(ValueError, match="targets from 0 to 2"):
        fn.study.cross_validate(TRAIN, folds)(ROW.net, the_key())

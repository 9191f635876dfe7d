"""Learning and capacity curves: the points are the trainings that they say they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close

import funcnet as fn

KEY = jax.random.key(4)
ROW = MODELS["mlp"]
TRAIN = fn.fit(ROW.loss(), optax.adam(0.05), epochs=3, batch_size=8)
SQUARED = fn.losses.supervised(fn.losses.squared_error)


def test_a_model_that_remembers_its_rows_knows_as_many_as_it_saw():
    """Each row is a feature of its own, so the error over all rows is the share of rows not seen."""
    data = (jnp.eye(12), jnp.ones(12))
    train = fn.fit(SQUARED, optax.sgd(0.5), epochs=60, batch_size=12)
    net = fn.Linear(12, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (1, 5, 12), 3)(net, data, KEY, data)
    for place, rows in enumerate(found.places):
        np.testing.assert_allclose(found.scores["val_loss"][place], 1 - rows / 12, atol=1e-3)
        np.testing.assert_allclose(found.scores["loss"][place], 0, atol=1e-3)


def test_sets_are_nested_and_weights_and_views_count_on():
    """Row i is worth 2^i, so that the error tells which rows were seen."""
    worth = 2.0 ** jnp.arange(8.0)
    data = fn.data.take(fn.data.Dataset((jnp.eye(9), jnp.ones(9))), range(8))
    valid = fn.data.Dataset((jnp.eye(9)[:8], jnp.ones(8)), weight=worth)
    train = fn.fit(SQUARED, optax.sgd(1.0), epochs=40, batch_size=8)
    net = fn.Linear(9, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (2, 4, 8), 4)(net, data, KEY, valid)
    missing = np.rint(found.scores["val_loss"] * 255).astype(int)
    assert missing[2].tolist() == [0] * 4
    assert [bin(m).count("1") for m in missing[0]] == [6] * 4
    assert np.all(missing[0] & missing[1] == missing[1])
    assert len(set(missing[0].tolist())) > 1


def test_rows_of_weight_zero_are_none_of_the_number():
    """Of 9 rows 5 count; the error over these is the share of them that was not seen."""
    weight = jnp.array([1.0, 0, 1, 0, 0, 2, 1, 0, 1])
    data = fn.data.Dataset((jnp.eye(9), jnp.ones(9)), weight=weight)
    valid = fn.data.Dataset((jnp.eye(9), jnp.ones(9)), weight=(weight > 0).astype(float))
    train = fn.fit(SQUARED, optax.sgd(0.4), epochs=80, batch_size=9)
    net = fn.Linear(9, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (2, 5), 4)(net, data, KEY, valid)
    np.testing.assert_allclose(found.scores["val_loss"][0], 3 / 5, atol=0.01)
    np.testing.assert_allclose(found.scores["val_loss"][1], 0, atol=0.01)
    with pytest.raises(ValueError, match="data has 5 rows that count; got rows up to 6"):
        fn.study.learning_curve(train, (6,), 2)(net, data, KEY, valid)


@pytest.mark.slow
def test_a_point_does_not_depend_on_the_others_and_is_traced_once():
    traced = 0
    plain = ROW.loss()

    def counted(model, example, key):
        nonlocal traced
        traced += 1
        return plain(model, example, key)

    train = fn.fit(counted, optax.adam(0.05), epochs=2, batch_size=8)
    data, valid = ROW.rows(20), ROW.rows(12, seed=1)
    study = fn.study.learning_curve(train, (6, 20), 2)
    found = study(ROW.net, data, KEY, valid)
    first = traced
    other = study(ROW.net, data, jax.random.key(5), valid)
    assert traced == first
    assert not np.allclose(found.scores["val_loss"], other.scores["val_loss"])
    assert set(found.scores) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    alone = fn.study.learning_curve(train, (20,), 1, block=1)(ROW.net, data, KEY, valid)
    assert_close(found.scores["val_loss"][1, 0], alone.scores["val_loss"][0, 0], 20)
    assert np.isnan(alone.standard_error["loss"]).all()


def test_all_rows_are_the_training_on_all_rows():
    x = ROW.rows(10)[0]
    data = (x, x[:, 0])
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=5, batch_size=10, shuffle=False)
    net = fn.models.LinearRegression(3)
    found = fn.study.learning_curve(train, (10,), 2)(net, data, KEY, data)
    run = train(net.init(KEY), data, KEY)
    want = fn.evaluate(SQUARED, run.model, data)["loss"]
    np.testing.assert_allclose(found.scores["loss"], float(want), rtol=1e-5)


@pytest.mark.slow
def test_capacities_are_trainings_of_their_own():
    data, valid = ROW.rows(16), ROW.rows(12, seed=1)
    made = []

    def make(width):
        made.append(width)
        return TRAIN, fn.MLP((3, width, 3))

    study = fn.study.capacity_curve(make, (2, 5), 3)
    found = study(data, KEY, valid)
    assert (found.over, found.places) == ("capacity", (2, 5))
    assert found.scores["val_accuracy"].shape == (2, 3)
    alone = fn.study.capacity_curve(make, (5,), 1)(data, KEY, valid)
    assert_close(found.scores["val_loss"][1, 0], alone.scores["val_loss"][0, 0], 20)
    study(data, jax.random.key(8), valid)
    assert made == [2, 5, 5]


WRONG = {
    "rows that fall": (
        lambda: fn.study.learning_curve(TRAIN, (20, 10), 3),
        ValueError,
        "rows must increase",
    ),
    "no repeats": (lambda: fn.study.learning_curve(TRAIN, (10,), 0), ValueError, "size must be at least 1"),
    "too many rows": (
        lambda: fn.study.learning_curve(TRAIN, (10, 50), 3)(ROW.net, ROW.rows(20), KEY, ROW.rows(8)),
        ValueError,
        "data has 20 rows that count; got rows up to 50",
    ),
    "no capacities": (
        lambda: fn.study.capacity_curve(lambda width: None, (), 3),
        ValueError,
        "capacities",
    ),
    "capacities in a word": (
        lambda: fn.study.capacity_curve(lambda width: None, "abc", 3),
        TypeError,
        r"Try capacities=\(2, 8, 32\)",
    ),
    "one capacity": (lambda: fn.study.capacity_curve(lambda width: None, 4, 3), TypeError, "are several"),
    "no function": (
        lambda: fn.study.capacity_curve(3, (1,), 3),
        TypeError,
        "make_train must be a function",
    ),
    "a training alone": (
        lambda: fn.study.capacity_curve(lambda width: TRAIN, (1,), 3)(ROW.rows(8), KEY, ROW.rows(8)),
        TypeError,
        r"make returns a pair \(training, network\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()

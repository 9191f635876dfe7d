"""Learning and capacity curves: each point is the mean of the runs it claims."""

import jax
import numpy as np
import optax
import pytest
from tables import MODELS, assert_close

import funcnet as fn

ROW = MODELS["mlp"]
TRAIN = fn.fit(ROW.loss(), optax.adam(0.05), epochs=3, batch_size=8)
SQUARED = fn.losses.supervised(fn.losses.squared_error)


def the_key():
    return jax.random.key(4)


def eye(n):
    return np.eye(n, dtype=np.float32), np.ones(n, np.float32)


def test_a_model_that_remembers_its_rows_knows_as_many_as_it_saw():
    """Each row is a feature of its own, so the error over all rows is the share of rows not seen."""
    data = eye(12)
    train = fn.fit(SQUARED, optax.sgd(0.5), epochs=60, batch_size=12, shuffle=False)
    net = fn.Linear(12, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (5, 12), 3)(net, data, the_key(), data)
    for place, rows in enumerate(found.x):
        np.testing.assert_allclose(found.scores["val_loss"][place], 1 - rows / 12, atol=1e-3)
        np.testing.assert_allclose(found.scores["loss"][place], 0, atol=1e-3)


def test_sets_are_nested_and_weights_and_views_count_on():
    """Row i is worth 2^i, so that the error tells which rows were seen."""
    x, y = eye(9)
    data = fn.data.take(fn.data.Dataset((x, y)), range(8))
    valid = fn.data.Dataset((x[:8], y[:8]), weight=np.float32(2) ** np.arange(8, dtype=np.float32))
    train = fn.fit(SQUARED, optax.sgd(1.0), epochs=40, batch_size=8, shuffle=False)
    net = fn.Linear(9, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (2, 4, 8), 4)(net, data, the_key(), valid)
    missing = np.rint(found.scores["val_loss"] * 255).astype(int)
    assert missing[2].tolist() == [0] * 4
    assert [bin(m).count("1") for m in missing[0]] == [6] * 4
    assert np.all(missing[0] & missing[1] == missing[1])
    assert len(set(missing[0].tolist())) > 1


def test_rows_of_weight_zero_are_none_of_the_number():
    """Of 9 rows 5 count; the error over these is the share of them that was not seen."""
    weight = np.float32([1, 0, 1, 0, 0, 2, 1, 0, 1])
    data = fn.data.Dataset(eye(9), weight=weight)
    valid = fn.data.Dataset(eye(9), weight=np.float32(weight > 0))
    train = fn.fit(SQUARED, optax.sgd(0.4), epochs=80, batch_size=9, shuffle=False)
    net = fn.Linear(9, "scalar", use_bias=False, weight_init="zeros")
    found = fn.study.learning_curve(train, (2, 5), 4)(net, data, the_key(), valid)
    np.testing.assert_allclose(found.scores["val_loss"][0], 3 / 5, atol=0.01)
    np.testing.assert_allclose(found.scores["val_loss"][1], 0, atol=0.01)
    with pytest.raises(
        ValueError, match="train_sizes must be at most 5, the number of rows with a weight, got 6"
    ):
        fn.study.learning_curve(train, (6,), 2)(net, data, the_key(), valid)


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
    found = study(ROW.net, data, the_key(), valid)
    first = traced
    other = study(ROW.net, data, jax.random.key(5), valid)
    assert traced == first
    assert not np.allclose(found.scores["val_loss"], other.scores["val_loss"])
    assert set(found.scores) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    alone = fn.study.learning_curve(train, (20,), 1, block=1)(ROW.net, data, the_key(), valid)
    assert_close(found.scores["val_loss"][1, 0], alone.scores["val_loss"][0, 0], 20)
    assert np.isnan(alone.standard_error["loss"]).all()


def test_all_rows_are_the_training_on_all_rows():
    x = np.asarray(ROW.rows(10)[0])
    data = (x, x[:, 0])
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=5, batch_size=10, shuffle=False)
    net = fn.models.LinearRegression(3)
    found = fn.study.learning_curve(train, (10,), 2)(net, data, the_key(), data)
    run = train(jax.jit(net.init)(the_key()), data, the_key())
    expected = fn.evaluate(SQUARED, run.model, data)["loss"]
    np.testing.assert_allclose(found.scores["loss"], float(expected), rtol=1e-5)


@pytest.mark.slow
def test_capacities_are_trainings_of_their_own():
    data, valid = ROW.rows(16), ROW.rows(12, seed=1)
    made = []

    def make(width):
        made.append(width)
        return TRAIN, fn.MLP((3, width, 3))

    study = fn.study.capacity_curve(make, (2, 5), 3)
    found = study(data, the_key(), valid)
    assert (found.x_name, found.x) == ("capacity", (2, 5))
    assert found.scores["val_accuracy"].shape == (2, 3)
    alone = fn.study.capacity_curve(make, (5,), 1)(data, the_key(), valid)
    assert_close(found.scores["val_loss"][1, 0], alone.scores["val_loss"][0, 0], 20)
    study(data, jax.random.key(8), valid)
    assert made == [2, 5, 5]


WRONG = {
    "rows that fall": (lambda: fn.study.learning_curve(TRAIN, (20, 10), 3), ValueError, "train_sizes"),
    "no repeats": (lambda: fn.study.learning_curve(TRAIN, (10,), 0), ValueError, "num_repeats"),
    "too many rows": (
        lambda: fn.study.learning_curve(TRAIN, (10, 50), 3)(ROW.net, ROW.rows(20), the_key(), ROW.rows(8)),
        ValueError,
        "train_sizes must be at most 20, .* got 50",
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
    "one capacity": (
        lambda: fn.study.capacity_curve(lambda width: None, 4, 3),
        TypeError,
        "must be a sequence",
    ),
    "no function": (lambda: fn.study.capacity_curve(3, (1,), 3), TypeError, "make_train"),
    "a training alone": (
        lambda: fn.study.capacity_curve(lambda width: TRAIN, (1,), 3)(ROW.rows(8), the_key(), ROW.rows(8)),
        TypeError,
        r"make_train must return a pair \(training function, network\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, kind, words = WRONG[case]
    with pytest.raises(kind, match=words):
        action()

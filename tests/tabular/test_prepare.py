"""Which rows of a table are held out, and what a study is trained on."""

import dataclasses
import functools

import jax
import numpy as np
import pandas
import pytest

import funcnet as fn
from funcnet.tabular import study_table
from funcnet.tabular._prepare import prepare_study
from funcnet.tabular._split import split_table


@functools.cache
def keys():
    return tuple(jax.random.split(jax.random.key(0)))


def line_table(rows=60):
    """A target on a line, in units far from 1: y = 1000 + 300·a, and an irrelevant feature."""
    a, b = np.random.default_rng(0).normal(size=(2, rows)).astype(np.float32)
    data = fn.data.Dataset((np.stack([50 + 10 * a, b], axis=1), 1000 + 300 * a))
    return fn.data.Table("line", data, ("a", "b"), "price")


def test_held_out_rows_are_stratified_and_share_no_row():
    table = fn.data.load("wine")
    used, held_out = split_table(table, 0.2, np.random.default_rng(0).permutation(178))
    assert sorted([*used, *held_out]) == list(range(178))
    y = np.asarray(table.data[:][1])
    for part in (used, held_out):
        assert np.abs(np.bincount(y[part]) - np.bincount(y) / 178 * len(part)).max() <= 1.5


def test_a_standard_split_is_kept():
    x = np.arange(70, dtype=np.float32)[:, None]
    data = fn.data.Dataset((x, np.arange(70, dtype=np.int32) % 2))
    table = fn.data.Table("standard", data, ("x",), "class", ("even", "odd"), standard_split=(60, 10))
    halves = split_table(table, 0.5, np.arange(70))
    assert [len(half) for half in halves] == [35, 35]
    used, held_out = split_table(table, None, np.arange(70))
    assert (used.tolist(), held_out.tolist()) == (list(range(60)), list(range(60, 70)))
    _, (train, valid, test), _ = prepare_study(table, (4,), keys())
    assert [len(train), len(valid), len(test)] == [45, 15, 10]
    assert test[:][1].tolist() == [0, 1] * 5


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_row_is_trained_on(seed):
    x = np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    y = np.array([0] * 10 + [1] * 9 + [2], np.int32)
    table = fn.data.Table("rare", fn.data.Dataset((x, y)), ("x",), "class", ("a", "b", "c"))
    used, held_out = split_table(table, 0.4, np.random.default_rng(seed).permutation(20))
    assert 19 in used
    assert len(used) + len(held_out) == 20


def test_columns_and_targets_are_scaled_by_the_training_rows():
    table = line_table()
    net, (train, valid, _), scaler = prepare_study(table, (4,), keys())
    assert net.sizes == (2, 4, "scalar")
    x, y = (np.asarray(a) for a in train[:])
    np.testing.assert_allclose(np.median(x, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-4)
    assert abs(float(valid[:][1].mean())) > 1e-3
    prices = np.asarray(scaler.inverse_transform(y))
    assert set(np.round(prices, 1)) <= set(np.round(np.asarray(table.data[:][1]), 1))


def test_text_gaps_and_dates_are_read(tmp_path):
    frame = pandas.DataFrame(
        {
            "area": [1.5, None, 3.0, 4.0] * 15,
            "town": ["Oslo", "Rome", "Lima", None] * 15,
            "sold": pandas.date_range("2024-01-01", periods=60, freq="17D"),
            "rent": np.arange(60.0),
        }
    )
    frame.to_csv(tmp_path / "rents.csv", index=False)
    net, (train, *_), _ = prepare_study(fn.data.load(tmp_path / "rents.csv"), (4,), keys())
    assert train[:][0].shape == (36, net.sizes[0])
    assert net.sizes[0] >= 1 + 1 + 3 + 3  # area and its gaps, towns, days, months and years
    assert np.isfinite(train[:][0]).all()


def test_roles_and_missing_words_of_a_study(tmp_path):
    frame = pandas.DataFrame({"a": np.arange(40.0), "b": [-1, 1, 2, 3] * 10, "y": np.arange(40.0)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = fn.data.load(tmp_path / "t.csv")
    assert prepare_study(table, (4,), keys()).net.sizes[0] == 2
    assert prepare_study(table, (4,), keys(), {"a": "dropped"}).net.sizes[0] == 1
    assert prepare_study(table, (4,), keys(), {}, ("-1",)).net.sizes[0] == 3  # where b is missing
    with pytest.raises(ValueError, match="must have a column that differs between rows"):
        prepare_study(table, (4,), keys(), {"a": "dropped", "b": "dropped"})


def test_the_user_says_what_comes_first_in_the_dates_of_a_study(tmp_path):
    days = [f"{i % 12 + 1:02}/{i % 7 + 1:02}/2024" for i in range(40)]
    pandas.DataFrame({"day": days, "y": np.arange(40.0)}).to_csv(tmp_path / "t.csv", index=False)
    table = fn.data.load(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="which of day and month comes first"):
        prepare_study(table, (4,), keys())
    first, second = (prepare_study(table, (4,), keys(), dayfirst=first).parts[0] for first in (True, False))
    assert not np.array_equal(first[:][0], second[:][0])


def test_a_target_near_the_limits_of_float64_is_refused(tmp_path):
    frame = pandas.DataFrame({"a": np.arange(40.0), "y": [1.7e308, -1.7e308] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"the target 'y' must be at most 1e\+150 in size, got 1.7e\+308"):
        prepare_study(fn.data.load(tmp_path / "t.csv"), (4,), keys())


WRONG = {
    "hidden": ((0,), ValueError, r"hidden\[0\] must be at least 1"),
    "epochs": (0, ValueError, "epochs"),
    "batch_size": (0, ValueError, "batch_size"),
    "learning_rate": (0.0, ValueError, "learning_rate must be above 0"),
    "patience": (-1, ValueError, "patience"),
    "seed": (0.5, TypeError, "seed must be an integer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_of_a_study_out_of_range(name):
    value, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        study_table(line_table(), "ensemble", **{name: value})


def test_what_cant_fit_into_memory_is_refused_with_the_bytes_it_needs():
    study = functools.partial(study_table, line_table(), "ensemble")
    for settings in ({"hidden": (2**31 - 1,)}, {"hidden": (10**6, 10**6)}, {"epochs": 10**13}):
        with pytest.raises(ValueError, match=r"need [\d,.]+ [GTP]iB, and [\d,.]+ GiB are available"):
            study(**settings)


def test_tables_of_few_rows_are_refused():
    with pytest.raises(ValueError, match="1 rows are too few"):
        fn.data.split((np.zeros(1),), (0.8, 0.2), keys()[0])
    table = line_table(2)
    with pytest.raises(ValueError, match="too few"):
        study_table(dataclasses.replace(table), "folds")

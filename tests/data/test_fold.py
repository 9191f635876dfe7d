"""Folds: each row is held out once, classes are balanced, groups stay together, vmap trains all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import cached_key
from tables import assert_close, same_bits

import funcnet as fn

EACH = fn.data.Dataset.axes(rows=0)


def rows_that_count(part):
    """The first array of the rows with a weight above zero, as numpy."""
    return np.asarray(part[:][0])[np.asarray(part.weights()) > 0]


def lists(values, size):
    """Lists of one length, since each length is compiled separately."""
    return st.lists(values, min_size=size, max_size=size)


@settings(max_examples=12)
@given(
    labels=lists(st.integers(0, 3), 17),
    num_folds=st.sampled_from((2, 7, 16)),
    seed=st.integers(0, 2**31 - 1),
)
def test_each_row_is_held_out_once_and_each_class_is_balanced(labels, num_folds, seed):
    y = np.array(labels)
    folds = fn.data.kfold((np.arange(len(y)), y), num_folds, jax.random.key(seed), stratify=y)
    parts = [tuple(map(rows_that_count, pair)) for pair in folds]
    assert sorted(np.concatenate([valid for _, valid in parts]).tolist()) == list(range(len(y)))
    for train, valid in parts:
        assert sorted([*train, *valid]) == list(range(len(y)))
    sizes = [len(valid) for _, valid in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in range(4):
        counts = [np.sum(y[valid] == label) for _, valid in parts]
        assert max(counts) - min(counts) <= 1


def held_out(folds):
    return [sorted(rows_that_count(valid).tolist()) for _, valid in folds]


def test_single_groups_fill_folds_evenly():
    labels = [1, 1, 2, 2, 0, 0]
    folds = fn.data.kfold((np.arange(6),), 3, cached_key(0), stratify=labels, groups=np.arange(6))
    assert [len(rows) for rows in held_out(folds)] == [2, 2, 2]


@settings(max_examples=12)
@given(
    labels=lists(st.integers(0, 3), 9),
    num_folds=st.sampled_from((2, 5)),
    seed=st.integers(0, 2**31 - 1),
)
def test_groups_of_single_rows_and_other_names_change_nothing(labels, num_folds, seed):
    y, rng = np.array(labels), np.random.default_rng(seed)
    settings = {"data": (np.arange(len(y)),), "folds": num_folds, "key": jax.random.key(seed)}
    expected = held_out(fn.data.kfold(**settings, stratify=y))
    single = rng.permutation(len(y)) * 7
    assert held_out(fn.data.kfold(**settings, stratify=y, groups=single)) == expected
    for names in (rng.permutation(4), np.array(["d", "a", "c", "b"])):
        assert held_out(fn.data.kfold(**settings, stratify=names[y])) == expected
    pairs, names = np.arange(len(y)) // 2, rng.permutation(len(y))
    if pairs.max() + 1 >= num_folds:
        expected = held_out(fn.data.kfold(**settings, stratify=y, groups=pairs))
        renamed = fn.data.kfold(**settings, stratify=rng.permutation(4)[y], groups=names[pairs])
        assert held_out(renamed) == expected


def test_single_rows_fill_the_gaps_between_groups():
    groups = [0] * 4 + [1] * 2 + list(range(2, 8))
    sizes = [
        len(rows) for rows in held_out(fn.data.kfold((np.arange(12),), 3, cached_key(0), groups=groups))
    ]
    assert sizes == [4, 4, 4]


@pytest.mark.slow
@settings(max_examples=6)
@given(
    groups=st.lists(st.integers(0, 9), min_size=12, max_size=60).filter(lambda g: len(set(g)) >= 3),
    seed=st.integers(0, 2**31 - 1),
    stratified=st.booleans(),
)
def test_a_group_is_never_split(groups, seed, stratified):
    group = np.array(groups)
    labels = np.random.default_rng(seed).integers(0, 3, len(group)) if stratified else None
    folds = fn.data.kfold((group,), 3, jax.random.key(seed), groups=group, stratify=labels)
    held_out = [set(rows_that_count(valid).tolist()) for _, valid in folds]
    assert all(held_out)
    assert sum(map(len, held_out)) == len(set(groups))
    for (train, valid), names in zip(folds, held_out, strict=True):
        assert not names & set(rows_that_count(train).tolist())
        assert len(rows_that_count(train)) + len(rows_that_count(valid)) == len(group)


def test_stratified_groups_are_balanced_better_than_by_size_alone():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 5)
    y = (rng.uniform(size=60) < 0.3).astype(int)[group]  # a group is of one class

    def unevenness(**labels):
        folds = fn.data.kfold((y,), 5, cached_key(0), groups=group, **labels)
        return np.ptp([rows_that_count(valid).mean() for _, valid in folds])

    assert unevenness(stratify=y) <= 5 / 60
    assert unevenness(stratify=y) < unevenness()


def test_folds_follow_the_key_and_share_the_arrays():
    data = fn.data.Dataset((jnp.arange(20.0),))
    one, again, other = (fn.data.kfold(data, 4, jax.random.key(k)) for k in (1, 1, 2))
    assert same_bits(one, again)
    assert not same_bits(one, other)
    assert one.train.arrays[0] is data.arrays[0]  # folds of equal size need no padding
    assert one.train.weight is None


def test_folds_of_a_weighted_view_keep_its_rows_and_weights():
    weight = np.array([3.0, 0.0, 1.0, 2.0, 0.5, 4.0, 7.0], np.float32)
    rows = np.array([6, 5, 5, 3, 0])
    data = fn.data.Dataset((np.arange(7),), weight=weight, rows=rows)
    folds = fn.data.kfold(data, 2, cached_key(0))
    held_out = np.concatenate([rows_that_count(valid) for _, valid in folds])
    assert sorted(held_out.tolist()) == sorted(rows.tolist())
    for train, valid in folds:
        assert not set(rows_that_count(train).tolist()) & set(
            rows_that_count(valid).tolist()
        )  # both copies of row 5 are in one fold
        values = np.asarray(valid[:][0])
        counts = np.asarray(valid.weights()) > 0
        np.testing.assert_array_equal(np.asarray(valid.weights())[counts], weight[values[counts]])


def test_rows_of_weight_zero_are_in_no_fold():
    weight = np.repeat([1.0, 0.0, 2.0, 0.0], 5).astype(np.float32)
    labels = np.arange(20) % 2
    data = fn.data.Dataset((np.arange(20),), weight=weight)
    for labels_by_name in ({}, {"stratify": labels}, {"groups": np.arange(20) // 2}):
        folds = fn.data.kfold(data, 5, cached_key(0), **labels_by_name)
        held_out = [rows_that_count(valid) for _, valid in folds]
        assert sorted(np.concatenate(held_out).tolist()) == np.flatnonzero(weight).tolist()
        assert all(len(part) for part in held_out)
        if "groups" not in labels_by_name:
            assert {len(part) for part in held_out} == {2}
    with pytest.raises(ValueError, match="rows that count, 10, got 11"):
        fn.data.kfold(data, 11, cached_key(0))


def test_a_short_fold_is_padded_with_a_row_of_weight_zero():
    x, y = map(np.asarray, tables.MODELS["mlp"].rows(10))
    folds = fn.data.kfold((x, y), 3, cached_key(0))
    assert folds.train.rows.shape == (3, 7)
    loss, model = tables.MODELS["mlp"].loss(), tables.MODELS["mlp"].init()
    losses, logged = jax.jit(jax.vmap(lambda example: loss(model, example, None)))((x, y))
    padded = [part for pair in folds for part in pair if not np.all(part.weights())]
    assert len(padded) == 3
    for part in padded:
        rows = np.asarray(part.rows)[np.asarray(part.weights()) > 0]
        expected = {name: np.asarray(a)[rows].mean() for name, a in {"loss": losses, **logged}.items()}
        assert_close(fn.evaluate(loss, model, part, batch_size=4), expected)
    assert_close(fn.data.Scaler.fit(part), fn.data.Scaler.fit((x[rows],)))


@pytest.mark.parametrize("rows", [pytest.param(12, marks=pytest.mark.slow), 13])
def test_vmapped_folds_equal_folds_trained_one_by_one(rows):
    case = tables.MODELS["mlp-dropout"]
    folds = fn.data.kfold(case.rows(rows), 3, cached_key(0))
    train, model = tables.training("mlp-dropout"), case.init()
    keys = jax.random.split(cached_key(0), 3)
    runs = jax.vmap(train, in_axes=(None, EACH, 0, EACH))(model, folds.train, keys, folds.valid)
    for i, (part, valid) in enumerate(folds):
        run = train(model, part, keys[i], valid)
        member = jax.tree.map(lambda a, i=i: np.asarray(a)[i], (runs.model, runs.history))
        assert_close(member, (run.model, run.history), factor=5)


@pytest.mark.slow
def test_all_folds_at_once_trace_once():
    traces = []

    def loss(model, example, key):
        traces.append(None)
        return (model * example[0] - example[1]) ** 2

    folds = fn.data.kfold((jnp.arange(7.0), jnp.arange(7.0)), 3, cached_key(0))
    train = fn.fit(loss, optax.sgd(0.01), epochs=2, batch_size=2)
    over_folds = jax.vmap(train, in_axes=(None, EACH, None, EACH))
    over_folds(jnp.ones(()), folds.train, cached_key(0), folds.valid)
    before = len(traces)
    over_folds(jnp.ones(()), folds.valid, cached_key(0), folds.train)  # other shapes are traced again
    assert len(traces) > before
    before = len(traces)
    over_folds(jnp.zeros(()), folds.train, jax.random.key(1), folds.valid)
    assert len(traces) == before


DATA = (np.arange(6, dtype=np.float32),)


def test_uneven_folds_share_one_copy_of_the_arrays():
    folds = fn.data.kfold((jnp.arange(10.0),), 3, cached_key(0))
    assert folds.train.arrays[0] is folds.valid.arrays[0]


WRONG = {
    "copies in several groups": (
        lambda: fn.data.kfold(fn.data.take(DATA, [0, 0, 1, 1]), 2, cached_key(0), groups=range(4)),
        ValueError,
        "must have the same group",
    ),
    "one fold": (
        lambda: fn.data.kfold(DATA, 1, cached_key(0)),
        ValueError,
        "at least 2 .* number of rows that count, 6, got 1",
    ),
    "too many": (
        lambda: fn.data.kfold(DATA, 7, cached_key(0)),
        ValueError,
        "number of rows that count, 6, got 7",
    ),
    "half a fold": (lambda: fn.data.kfold(DATA, 2.5, cached_key(0)), TypeError, "folds must be an integer"),
    "no key": (lambda: fn.data.kfold(DATA, 2, 0), TypeError, "typed JAX key"),
    "a traced key": (
        lambda: jax.vmap(lambda k: fn.data.kfold(DATA, 2, k))(jax.random.split(cached_key(0), 2)),
        TypeError,
        "runs on the host",
    ),
    "few labels": (
        lambda: fn.data.kfold(DATA, 2, cached_key(0), stratify=[0, 1]),
        ValueError,
        "stratify must hold one label",
    ),
    "few groups": (
        lambda: fn.data.kfold(DATA, 3, cached_key(0), groups=[0, 0, 0, 1, 1, 1]),
        ValueError,
        "at most 2, the number of groups, got 3",
    ),
    "groups too short": (
        lambda: fn.data.kfold(DATA, 2, cached_key(0), groups=[0]),
        ValueError,
        "groups must hold one label",
    ),
    "no such fold": (
        lambda: fn.data.kfold(DATA, 2, cached_key(0))[2],
        IndexError,
        "below 2, got 2",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folds_are_refused(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()

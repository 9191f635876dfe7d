"""Bootstrap samples: how often rows are drawn, and which rows are out of the bag."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import cached_key
from tables import assert_close, same_bits

import funcnet as fn


@settings(max_examples=6)
@given(
    n=st.sampled_from((1, 9)),  # a program is compiled for each size
    samples=st.sampled_from((None, 1, 40)),
    seed=st.integers(0, 2**31 - 1),
)
def test_each_row_is_drawn_or_out_of_bag(n, samples, seed):
    data = fn.data.Dataset((np.arange(n),))
    sample = fn.data.bootstrap(data, jax.random.key(seed), samples)
    counts = np.bincount(sample[:][0], minlength=n)
    assert counts.sum() == len(sample) == (n if samples is None else samples)
    assert counts.size == n  # no row number is out of range
    np.testing.assert_array_equal(fn.data.out_of_bag(data, sample).weights() > 0, counts == 0)


def test_every_row_is_equally_likely_by_a_chi_square_test():
    keys = jax.random.split(jax.random.key(7), 400)
    rows = jax.vmap(lambda key: fn.data.bootstrap((jnp.arange(25),), key).rows)(keys)
    by_row = np.bincount(np.asarray(rows).ravel(), minlength=25)
    assert scipy.stats.chisquare(by_row).pvalue > 1e-3
    # The number of times that a row occurs in a sample is binomial: draws are independent.
    times = np.bincount((np.asarray(rows) == 3).sum(1), minlength=6)
    expected = 400 * scipy.stats.binom.pmf(np.arange(4), 25, 1 / 25)
    observed = np.append(times[:4], times[4:].sum())
    assert scipy.stats.chisquare(observed, np.append(expected, 400 - expected.sum())).pvalue > 1e-3


def test_a_bootstrap_is_pure_and_the_same_under_jit_and_vmap():
    data = tables.dataset("weighted-rows", "mlp")
    keys = jax.random.split(cached_key(0), 3)
    draw_all = jax.vmap(lambda key: fn.data.bootstrap(data, key), out_axes=fn.data.Dataset.axes(rows=0))
    together, compiled = jax.jit(draw_all)(keys), jax.jit(fn.data.bootstrap)
    assert together.arrays[0].shape == data.arrays[0].shape
    for i, key in enumerate(keys):
        alone = fn.data.bootstrap(data, key)
        assert same_bits(np.asarray(together.rows)[i], alone.rows)
        assert same_bits(compiled(data, key).rows, alone.rows)
    assert not same_bits(*np.asarray(together.rows)[:2])


def test_a_view_is_sampled_from_its_own_rows_and_out_of_bag_by_row():
    data = fn.data.Dataset((np.arange(9),), weight=np.arange(9.0) / 2, rows=[8, 8, 3, 1])
    for seed in range(8):
        sample = fn.data.bootstrap(data, jax.random.key(seed))
        drawn = set(sample[:][0].tolist())
        assert drawn <= {8, 3, 1}
        np.testing.assert_allclose(sample.weights(), np.asarray(sample[:][0]) / 2)
        rest = fn.data.out_of_bag(data, sample)
        # The view has row 8 twice: if it is drawn once, both have weight 0.
        assert rest[:][0].tolist() == [8, 8, 3, 1]
        expected = [0.0 if row in drawn else row / 2 for row in (8, 8, 3, 1)]
        assert rest.weights().tolist() == expected


def test_no_row_of_weight_zero_is_drawn():
    weight = np.array([0, 1, 0, 0, 2, 0.5, 0], np.float32)
    data = fn.data.Dataset((np.arange(7),), weight=weight)
    drawn = fn.data.bootstrap(data, cached_key(0), 3000)[:][0]
    counts = np.bincount(drawn, minlength=7)
    assert counts[weight == 0].tolist() == [0] * 4
    assert (
        scipy.stats.chisquare(counts[weight > 0]).pvalue > 1e-3
    )  # uniform: weights don't change the probability


def test_out_of_bag_losses_are_those_of_the_rows_not_drawn():
    case = tables.MODELS["mlp"]
    data = fn.data.Dataset(case.rows(19), weight=np.linspace(0.5, 2, 19, dtype=np.float32))
    sample = fn.data.bootstrap(data, cached_key(0))
    rows = np.setdiff1d(np.arange(19), sample.rows)
    expected = fn.evaluate(case.loss(), case.init(), fn.data.take(data, rows))
    assert_close(fn.evaluate(case.loss(), case.init(), fn.data.out_of_bag(data, sample), 8), expected)


@pytest.mark.slow
def test_vmapped_bootstrap_runs_equal_single_runs():
    case, train = tables.MODELS["mlp"], tables.training("mlp")
    data = fn.data.Dataset(case.rows(19))

    def member(key):
        sample = fn.data.bootstrap(data, key)
        return train(case.init(), sample, key, fn.data.out_of_bag(data, sample))

    keys = jax.random.split(cached_key(0), 2)
    runs = jax.vmap(member)(keys)
    for i in range(2):
        run = member(keys[i])
        assert_close(jax.tree.map(lambda a, i=i: a[i], runs.history), run.history, factor=5)


DATA = (np.arange(6, dtype=np.float32),)
WRONG = {
    "no key": (lambda: fn.data.bootstrap(DATA, 3), TypeError, "typed JAX key"),
    "no samples": (
        lambda: fn.data.bootstrap(DATA, cached_key(0), 0),
        ValueError,
        "samples must be at least 1",
    ),
    "not a view": (
        lambda: fn.data.out_of_bag(DATA, fn.data.Dataset(DATA)),
        ValueError,
        "a view of the 6 rows of data",
    ),
    "another table's": (
        lambda: fn.data.out_of_bag(
            DATA, fn.data.bootstrap((np.arange(5, dtype=np.float32),), cached_key(0))
        ),
        ValueError,
        r"Try sample = bootstrap\(data, key\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_bootstraps_are_refused(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()

"""Law 6: a shuffle is a permutation for every n and every key, and uniform over keys."""

import functools
import itertools
from collections import defaultdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tables import marked

import funcnet as fn
from funcnet.data import Shuffle

# The probability that a correct shuffle fails one of these tests; seeds are fixed, so none ever does.
CHANCE = 1e-6


@jax.jit
def _rows_and_positions(order: Shuffle, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rows at many positions, and the positions again by the inverse."""
    rows = order(positions)
    return rows, order.inverse(rows)


@pytest.mark.slow
def test_every_n_up_to_2000_is_permuted() -> None:
    by_rounds: dict[int, list[Shuffle]] = defaultdict(list)
    for n in range(1, 2001):
        order = Shuffle.draw(jax.random.key(n), n)
        by_rounds[order.rounds.shape[0]].append(jax.tree.map(np.asarray, order))
    assert sum(map(len, by_rounds.values())) == 2000
    for orders in by_rounds.values():
        stacked = Shuffle(
            *(np.stack(parts) for parts in zip(*((o.rounds, o.n) for o in orders), strict=True))
        )
        positions = jnp.arange(max(int(o.n) for o in orders), dtype=jnp.int32)
        rows = np.asarray(jax.jit(jax.vmap(Shuffle.__call__, in_axes=(0, None)))(stacked, positions))
        for order, row in zip(orders, rows, strict=True):
            n = int(order.n)
            assert np.array_equal(np.sort(row[:n]), np.arange(n)), f"n={n}: some row is missing"


@pytest.mark.parametrize("n", marked([1, 2, 3, 8, 255, 256, 257, 2000], slow=[2, 8, 255]))
def test_the_inverse_finds_each_position(n: int) -> None:
    positions = np.arange(2000, dtype=np.int32) % n  # of one size, so that few programs are compiled
    rows, back = _rows_and_positions(Shuffle.draw(jax.random.key(n), n), positions)
    assert np.array_equal(back, positions)
    assert np.array_equal(np.sort(rows[:n]), np.arange(n))


@pytest.mark.parametrize("n", marked([10_000_000, 2**31 - 1], slow=[10_000_000]))
def test_large_n_is_permuted_on_a_sample(n: int) -> None:
    positions = np.unique(np.random.default_rng(0).integers(0, n, 100_000)).astype(np.int32)
    positions = np.concatenate([[0, n - 1], positions]).astype(np.int32)
    rows, back = _rows_and_positions(Shuffle.draw(jax.random.key(0), n), jnp.asarray(positions))
    rows = np.asarray(rows)
    assert np.array_equal(back, positions)
    assert rows.min() >= 0
    assert rows.max() < n
    assert len(np.unique(rows)) == len(np.unique(positions))
    pvalue = stats.kstest(rows / n, "uniform").pvalue
    assert pvalue > CHANCE, f"rows of n={n} are not uniform: p={pvalue:.2g}"


def _orders(n: int, keys: int, seed: int = 0) -> np.ndarray:
    """The order of n rows for each of many keys, [keys, n]."""
    return np.asarray(_draw_all(n)(jax.random.split(jax.random.key(seed), keys)))


@functools.cache
def _draw_all(n: int) -> Any:
    return jax.jit(jax.vmap(lambda key: Shuffle.draw(key, n)(jnp.arange(n))))


def _check_uniform(what: str, counts: np.ndarray, freedom: int, scale: float = 1.0) -> None:
    """Check by a chi-square test that counts are equal, and report the worst one if they are not."""
    expected = counts.sum() / counts.size
    assert expected > 20, f"{what}: too few keys for a chi-square test"
    statistic = scale * float(((counts - expected) ** 2 / expected).sum())
    limit = float(stats.chi2.isf(CHANCE, freedom))
    worst = np.unravel_index(np.argmax(np.abs(counts - expected)), counts.shape)
    assert statistic < limit, (
        f"{what}: chi-square {statistic:.1f} with {freedom} degrees of freedom, limit {limit:.1f}; "
        f"worst cell {tuple(map(int, worst))}: {counts[worst]}, expected {expected:.1f}"
    )


@pytest.mark.parametrize("n", marked([2, 3, 4, 5], slow=[3, 4]))
def test_all_permutations_are_equally_likely_over_keys(n: int) -> None:
    number = {order: i for i, order in enumerate(itertools.permutations(range(n)))}
    counts = np.zeros(len(number), int)
    for order in _orders(n, 24_000):
        counts[number[tuple(order.tolist())]] += 1
    _check_uniform(f"permutations of {n} rows", counts, len(number) - 1)


@pytest.mark.slow
def test_rounds_suffice_for_no_visible_bias_in_half_a_million_keys() -> None:
    # Each round swaps two rows with probability 1/4: after r rounds the probabilities of the two orders
    # differ by 2⁻ʳ. This test would detect seven rounds.
    swapped = _orders(2, 600_000)[:, 0]
    _check_uniform("orders of 2 rows", np.bincount(swapped, minlength=2), 1)


@pytest.mark.parametrize("n", marked([7, 16, 50], slow=[7, 16]))
def test_every_row_is_equally_likely_at_every_position(n: int) -> None:
    orders = _orders(n, 24_000)
    counts = np.stack([np.bincount(orders[:, position], minlength=n) for position in range(n)])
    # Rows and columns of the table have fixed sums, which leaves (n-1)² degrees of freedom.
    _check_uniform(f"position x row of {n} rows", counts, (n - 1) ** 2, scale=(n - 1) / n)


@pytest.mark.parametrize("pair", marked([(7, 1), (12, 1), (12, 5), (16, 8)], slow=[(7, 1), (12, 1)]))
def test_every_pair_of_rows_is_equally_likely_at_two_positions(pair: tuple[int, int]) -> None:
    n, apart = pair
    orders = _orders(n, 24_000, seed=1)
    pairs = orders[:, 1] * n + orders[:, 1 + apart - (n if 1 + apart >= n else 0)]
    counts = np.bincount(pairs, minlength=n * n).reshape(n, n)
    assert np.trace(counts) == 0
    off_diagonal = counts[~np.eye(n, dtype=bool)]
    _check_uniform(f"pairs {apart} apart of {n} rows", off_diagonal, off_diagonal.size - 1)


def test_epochs_of_one_key_are_as_uniform_as_keys() -> None:
    n, epochs = 7, 400
    counts = np.zeros((n, n), int)
    orders = set()
    for epoch in range(epochs):
        (batch,) = fn.data.batches((np.arange(n),), n, jax.random.key(2), epoch)
        (order,) = batch.example
        orders.add(tuple(np.asarray(order).tolist()))
        counts[np.arange(n), order] += 1
    assert len(orders) > 0.9 * epochs
    _check_uniform("position x row over epochs", counts, (n - 1) ** 2, scale=(n - 1) / n)


@pytest.mark.parametrize("n", marked([1, 2, 37, 1000], slow=[2, 1000]))
def test_a_position_is_computed_without_the_ones_before_it(n: int) -> None:
    order = Shuffle.draw(jax.random.key(4), n)
    order_of_all = np.asarray(_rows_and_positions(order, np.arange(n, dtype=np.int32))[0])
    for position in {0, n // 3, n - 1}:
        row, back = _rows_and_positions(order, position)
        assert row.shape == ()
        assert row.dtype == jnp.int32
        assert int(row) == order_of_all[position]
        assert int(back) == position
    table, _ = _rows_and_positions(order, np.arange(n, dtype=np.int32).reshape(1, n))
    assert np.array_equal(table, order_of_all[None])


def test_keys_differ_and_one_key_repeats() -> None:
    orders = _orders(50, 24_000)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], np.arange(50))
    assert np.array_equal(orders, _orders(50, 24_000))


@pytest.mark.parametrize("n", [0, -1, 2**31])
def test_impossible_numbers_of_rows_are_refused(n: Any) -> None:
    with pytest.raises(ValueError, match=r"n must be at (least|most)"):
        Shuffle.draw(jax.random.key(0), n)


def test_numpys_integers_are_integers():
    order = fn.data.Shuffle.draw(jax.random.key(0), np.int64(10))
    assert sorted(order(jnp.arange(10)).tolist()) == list(range(10))

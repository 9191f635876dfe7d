"""Minibatches: each row once, one size, the last one padded and masked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import cached_key
from tables import same_bits

import funcnet as fn


def _rows_that_count(batches: list[fn.data.Batch]) -> np.ndarray:
    """The first array of all rows with a weight above zero, in order."""
    first = [np.asarray(jax.tree.leaves(b.example)[0]) for b in batches]
    return np.concatenate([rows[np.asarray(b.weight) > 0] for rows, b in zip(first, batches, strict=True)])


@settings(max_examples=15)
@given(
    n=st.sampled_from((1, 12)),  # a program is compiled for each size
    size=st.sampled_from((1, 4, 7, 50)),
    shuffled=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_each_row_occurs_once_in_batches_of_one_size(n: int, size: int, shuffled: bool, epoch: int) -> None:
    batches = list(fn.data.batches((np.arange(n),), size, cached_key(1) if shuffled else None, epoch))
    assert len(batches) == -(-n // size)
    assert {b.weight.shape for b in batches} == {(min(n, size),)}
    assert sum(float(b.weight.sum()) for b in batches) == n
    order = _rows_that_count(batches)
    assert sorted(order.tolist()) == list(range(n))
    if not shuffled:
        assert order.tolist() == list(range(n))
    for batch in batches[:-1]:
        assert np.asarray(batch.weight).all()


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    orders = [
        _rows_that_count(list(fn.data.batches((np.arange(23),), size, cached_key(1), 2))).tolist()
        for size in (1, 4, 23)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_each_epoch_and_key_has_its_own_order() -> None:
    def order(key: Any, epoch: int) -> tuple[int, ...]:
        return tuple(_rows_that_count(list(fn.data.batches((np.arange(23),), 8, key, epoch))).tolist())

    orders = [
        order(cached_key(1), 0),
        order(cached_key(1), 1),
        order(cached_key(1), 2),
        order(jax.random.key(2), 0),
    ]
    assert len(set(orders)) == 4
    assert order(cached_key(1), 1) == orders[1]
    assert order(None, 0) == order(None, 1)


@pytest.mark.parametrize("name", tables.DATASETS)
def test_batches_have_the_rows_and_weights_of_the_dataset(name: str) -> None:
    data = tables.dataset(name, "mlp")
    batches = list(fn.data.batches(data, tables.BATCH))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    n = len(data)
    counts = np.asarray(data.weights()) > 0  # a row of weight zero may be replaced by another
    batched, expected = (
        jax.tree.map(lambda a: np.asarray(a)[:n][counts], t) for t in (joined.example, data[:])
    )
    assert same_bits(batched, expected)
    np.testing.assert_array_equal(joined.weight[:n], data.weights())
    np.testing.assert_array_equal(joined.weight[n:], 0)


def test_all_arrays_of_a_pytree_are_batched_alike() -> None:
    data = {"image": np.arange(12, dtype=np.float32).reshape(3, 2, 2), "label": np.arange(3)}
    first, last = fn.data.batches(data, 2, cached_key(1))
    for batch in (first, last):
        rows = batch.example["label"]
        np.testing.assert_array_equal(batch.example["image"], data["image"][rows])
    assert last.weight.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"key": 7}, TypeError, "key must be a typed JAX key"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(arguments: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        fn.data.batches((np.arange(4.0),), **arguments)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float16", "bfloat16"])
def test_weights_of_a_batch_are_summed_in_float32(dtype):
    for value, rows in ((1, 257), (256, 512))[: 1 if dtype == "bool" else 2]:
        batch = fn.data.Batch((jnp.ones(rows),), jnp.full(rows, value, dtype))
        assert batch.weight.dtype == jnp.float32
        assert batch.total_weight == value * rows
        assert (
            jax.jit(lambda w: fn.data.Batch((w,), w).total_weight)(batch.weight.astype(dtype))
            == value * rows
        )
    with pytest.raises(ValueError, match=r"weight must be at least 0, got -1\.0"):
        fn.data.Batch((jnp.ones(2),), jnp.array([1.0, -1.0]))

"""Labels: one-hot rows and class weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from keys import cached_key

import funcnet as fn
from funcnet.data._split import divide

WRONG = {
    "labels that are fractions": (lambda: fn.data.one_hot([0.5], 2), TypeError, "class numbers, got float"),
    "labels of text": (lambda: fn.data.one_hot(np.array(["a"]), 2), TypeError, "np.unique"),
    "a label too large": (
        lambda: fn.data.one_hot([0, 3], 3),
        ValueError,
        "from 0 to 2 for 3 classes, got 0 to 3",
    ),
    "a label below zero": (lambda: fn.data.one_hot([-1, 1], 3), ValueError, "got -1 to 1"),
    "weights by number": (lambda: fn.data.class_weights([0, 1], 2.0), TypeError, "dictionary by label"),
    "weights of no class": (
        lambda: fn.data.class_weights([0, 1], {"a": 2.0}),
        ValueError,
        "labels of the rows, 0, 1, got 'a'",
    ),
    "no labels": (lambda: fn.data.class_weights([]), ValueError, r"\[n\], got shape \(0,\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_refused(case):
    action, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        action()


def test_one_hot_is_a_row_of_the_identity():
    labels = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(fn.data.one_hot(labels, 3), np.eye(3)[labels])
    assert not jax.jit(lambda y: fn.data.one_hot(y, 2))(jnp.array([5])).any()
    logits = jax.random.normal(cached_key(0), (3,))
    for label in range(3):
        rows = fn.losses.cross_entropy(logits, fn.data.one_hot(label, 3))
        np.testing.assert_allclose(rows, fn.losses.cross_entropy(logits, jnp.array(label)), rtol=1e-6)


def test_fractions_may_be_rounded():
    """0.999999 is taken for 1, and all rows go to a part."""
    labels = np.arange(100_000) % 3
    for parts in ((0.333333, 0.333333, 0.333334), (0.33333, 0.33333, 0.33333)):
        sizes = [len(part) for part in divide(np.arange(100_000), parts, labels)]
        assert sum(sizes) == 100_000
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "labels",
    [
        pandas.Series(["a", None, "b"], dtype="string"),
        pandas.Series([1, None, 2], dtype="Int64"),
        np.array(["2024-01-01", "NaT", "2024-01-02"], "datetime64[D]"),
        [1.0, float("nan"), 2.0],
    ],
)
def test_a_label_that_is_missing_is_refused(labels):
    with pytest.raises(ValueError, match=r"must have a label in each row, got .* in row 1"):
        fn.data.kfold((np.arange(3.0),), 3, jax.random.key(0), stratify=labels)


def test_objects_may_be_numbers_of_numpy():
    labels = np.array([np.int64(0), np.int64(1)] * 3, object)
    assert len(fn.data.kfold((np.arange(6.0),), 3, jax.random.key(0), stratify=labels)) == 3

"""Whatever holds numbers is an array; whatever does not ends in one sentence."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest

from funcnet import _check

READ_ONLY = np.arange(3.0)
READ_ONLY.flags.writeable = False


def _made(value: Any) -> Any:
    """What JAX makes is made in the test, not as its cases are collected."""
    return value() if isinstance(value, functools.partial) else value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2.0),
        (range(3), [0, 1, 2]),
        ([[1, 2], (3.5, 4)], [[1, 2], [3.5, 4]]),
        ([np.float64(1), 2], [1, 2]),
        ([np.ones(2), [2, 3]], [[1, 1], [2, 3]]),
        (functools.partial(lambda: [jnp.ones(2), np.zeros(2)]), [[1, 1], [0, 0]]),
        (np.arange(3, dtype=">f8"), [0, 1, 2]),
        (np.arange(3, dtype=">i4"), [0, 1, 2]),
        (np.arange(3, dtype=np.longdouble), [0, 1, 2]),
        (READ_ONLY, [0, 1, 2]),
        (np.asfortranarray(np.arange(4.0).reshape(2, 2)), [[0, 1], [2, 3]]),
        (np.arange(6.0)[::-2], [5, 3, 1]),
        (np.array([True, False]), [1, 0]),
        (pandas.Series([1, 2], dtype="Int64"), [1, 2]),
        (pandas.Series([1, None], dtype="Int64"), [1, np.nan]),
        (pandas.Series([True, None], dtype="boolean"), [1, np.nan]),
        (pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.0]}), [[1, 0.5], [2, 1]]),
        (np.ma.array([1.0, 2.0], mask=[False, False]), [1, 2]),
        (functools.partial(jnp.ones, 2, jnp.bfloat16), [1, 1]),
    ],
)
def test_numbers_of_any_kind_are_an_array(value: Any, expected: Any) -> None:
    value = _made(value)
    np.testing.assert_array_equal(np.asarray(_check.array("x", value), float), np.asarray(expected, float))
    np.testing.assert_array_equal(
        np.asarray(_check.jax_array("x", value), float), np.asarray(expected, float)
    )


def test_digits_are_kept_and_tracers_pass() -> None:
    wide = np.array([1.7e9, 1.7e9 + 0.5])
    np.testing.assert_array_equal(_check.array("x", wide), wide)
    assert jax.jit(lambda x: _check.jax_array("x", x) + 1)(1.0) == 2


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (None, "must be an array of numbers, got NoneType"),
        ("a", "must be an array of numbers, got str 'a'"),
        (["a"], "got text"),
        (np.array([1, None]), "got an array of object"),
        (pandas.Series(["a"]), "must be an array of numbers, got"),
        (pandas.DataFrame({"a": [1], "b": ["x"]}), "must be an array of numbers, got"),
        (np.array([1j]), "must be real"),
        (np.array(["2020-01-01"], "M8[D]"), "timedelta64"),
        (np.ma.array([1, 2], mask=[False, True]), "masked"),
        ([[1], [2, 3]], "equal lengths"),
        (functools.partial(lambda: [jnp.ones(1), jnp.ones(2)]), "equal lengths"),
        (2**70, "64-bit"),
        (2**40, "32-bit"),
        (functools.partial(jax.random.key, 0), "must be an array of numbers, got an array of key"),
        ({"a": 1}, "got dict"),
        (int, "got the class int"),
    ],
)
def test_everything_else_ends_in_a_sentence(value: Any, match: str) -> None:
    value = _made(value)
    with pytest.raises((TypeError, ValueError), match=f"^x .*{match}"):
        _check.jax_array("x", value)

"""Law: a loss or metric of numbers in half precision is that of the same numbers in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

import funcnet as fn

ALL = {**tables.LOSSES, **tables.METRICS, **tables.SUM_METRICS}
NAMES = [name for name in ALL if name not in tables.VARIANTS]
# bfloat16 rounds more, so a sum in half precision shows there; float16 is quick once of each kind, and
# bfloat16 for every second function.
QUICK_FLOAT16 = ("squared-error", "accuracy-classes", "rmse")
DTYPES = [(name, dtype) for dtype in (jnp.bfloat16, jnp.float16) for name in NAMES]
SLOW = [(name, jnp.float16) for name in NAMES if name not in QUICK_FLOAT16]
SLOW += [(name, jnp.bfloat16) for name in NAMES[1::2]]
ROWS = 23


@pytest.mark.parametrize("case", tables.marked(DTYPES, slow=SLOW))
def test_half_precision_is_float32_of_the_same_numbers(case: tuple[str, Any]) -> None:
    name, dtype = case
    function = ALL[name].function
    prediction, target = ALL[name].pairs(ROWS, seed=2)
    half = prediction.astype(dtype)
    half_target = target.astype(dtype) if target.dtype.kind == "f" else target
    if name.endswith(("probabilities", "divergence")):
        half_target = target  # rounded rows need not add up to 1
    weight = np.random.default_rng(0).uniform(0.5, 2, ROWS).astype(dtype)
    single = half.astype(np.float32)
    single_target = half_target.astype(target.dtype)
    found = fn.metrics.measure(function, half, half_target, weight)
    expected = fn.metrics.measure(function, single, single_target, weight.astype(np.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=3e-7)  # XLA may add in another order


@pytest.mark.parametrize("ranking", [fn.metrics.roc_auc, fn.metrics.average_precision])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_rankings_of_half_precision_are_those_of_float32(ranking: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=70_000).astype(dtype), rng.integers(0, 2, 70_000)
    weight = np.ones(70_000, dtype)
    expected = ranking(scores.astype(np.float32), target)
    np.testing.assert_array_equal(ranking(scores, target, weight), expected)
    np.testing.assert_allclose(jax.jit(ranking)(scores, target, weight), expected, rtol=1e-5)

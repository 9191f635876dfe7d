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
ROWS = 23


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_is_float32_of_the_same_numbers(name: str, dtype: Any) -> None:
    case = ALL[name]
    prediction, target = (jnp.asarray(a) for a in case.pairs(ROWS, seed=2))
    half = prediction.astype(dtype)
    half_target = target.astype(dtype) if jnp.issubdtype(target.dtype, jnp.floating) else target
    if name.endswith(("probabilities", "divergence")):
        half_target = target  # rounded rows need not add up to 1
    weight = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, ROWS), dtype)
    single = half.astype(jnp.float32)
    single_target = half_target.astype(target.dtype)
    found = fn.metrics.measure(case.function, half, half_target, weight)
    expected = fn.metrics.measure(case.function, single, single_target, weight.astype(jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=3e-7)  # XLA may add in another order


@pytest.mark.parametrize("ranking", [fn.metrics.roc_auc, fn.metrics.average_precision])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
def test_rankings_of_half_precision_are_those_of_float32(ranking: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    scores, target = jnp.asarray(rng.normal(size=70_000), dtype), rng.integers(0, 2, 70_000)
    weight = jnp.ones(70_000, dtype)
    expected = ranking(scores.astype(jnp.float32), target)
    np.testing.assert_array_equal(ranking(scores, target, weight), expected)
    np.testing.assert_allclose(jax.jit(ranking)(scores, target, weight), expected, rtol=1e-5)

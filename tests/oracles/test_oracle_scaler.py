"""Law 12: the scaler against scikit-learn's, weights and views included."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import funcnet as fn


def _features(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(loc=[0.0, 50.0, -3.0, 7.0], scale=[1.0, 0.01, 1000.0, 0.0], size=(31, 4))
    return x.astype(np.float32)


WEIGHT = np.random.default_rng(1).integers(0, 4, 31).astype(np.float32)
ROWS = np.random.default_rng(2).integers(0, 31, 19)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("rows", [None, ROWS], ids=["all", "view"])
def test_standard_is_scikit_learns(weight: np.ndarray | None, rows: np.ndarray | None) -> None:
    x = _features()
    seen = x if rows is None else x[rows]
    oracle = StandardScaler().fit(
        seen.astype(float), sample_weight=weight if weight is None or rows is None else weight[rows]
    )
    scaler = fn.data.Scaler.fit(fn.data.Dataset((x, np.arange(31)), weight=weight, rows=rows))
    np.testing.assert_allclose(scaler.shift, oracle.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, oracle.scale_, rtol=1e-6)
    other = _features(seed=5)
    np.testing.assert_allclose(scaler.transform(other), oracle.transform(other), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_minmax_is_scikit_learns_over_the_rows_that_count(weight: np.ndarray | None) -> None:
    x = _features()
    counted = x if weight is None else x[weight > 0]
    oracle = MinMaxScaler().fit(counted.astype(float))
    data = fn.data.Dataset((x,), weight=weight)
    scaler = fn.data.Scaler.fit(data, "minmax")
    np.testing.assert_allclose(scaler.shift, oracle.data_min_, rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, 1 / oracle.scale_, rtol=1e-5)
    (moved,) = scaler.transform(data).arrays
    np.testing.assert_allclose(moved, oracle.transform(x), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_one_scale_for_all_and_back_again(kind: str) -> None:
    x = np.random.default_rng(3).uniform(0, 255, size=(12, 4, 4, 1)).astype(np.float32)
    scaler = fn.data.Scaler.fit(x, kind, per_feature=False)
    assert scaler.shift.shape == scaler.scale.shape == ()
    oracle = (StandardScaler if kind == "standard" else MinMaxScaler)().fit(x.reshape(-1, 1).astype(float))
    expected = oracle.transform(x.reshape(-1, 1)).reshape(x.shape)
    np.testing.assert_allclose(scaler.transform(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(x)), x, rtol=1e-5, atol=1e-4)


def test_float32_far_from_zero_is_centred_exactly():
    x = (1e4 + np.random.default_rng(0).normal(size=(64, 3))).astype(np.float32)
    scaled = fn.data.Scaler.fit(fn.data.Dataset((x, np.zeros(64)))).transform(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(scaled, (wide - wide.mean(0)) / wide.std(0), atol=1e-6)

"""No digits are lost in silence: distinct values stay distinct, or a sentence says how many would not.

The values are those of columns with an offset and a spacing, such as times in seconds since 1970, in every
place where numbers of the host become float32.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys import lazy_key

import funcnet as fn
from funcnet.sklearn import MLPClassifier, MLPRegressor

KEY = lazy_key(0)
KEPT = r"([\d,]+) different values, such as .*, of which float32 keeps ([\d,]+)"
NUM_ROWS = 64


@st.composite
def columns(draw: Any) -> np.ndarray:
    """Values offset + spacing · i, apart in float64, in a random order."""
    offset = draw(st.sampled_from([0.0, 1.0, 37.5, 2024.0, 1e6, 1.7e9, -1.7e12, 1e17, 1e-35, 1e36]))
    spacing = 10.0 ** draw(st.integers(-39, 37)) * draw(st.sampled_from([1.0, 0.3, 7.0]))
    values = offset + spacing * np.arange(NUM_ROWS)
    return draw(st.permutations(values.tolist()).map(np.array))


def has_digits(values: np.ndarray) -> bool:
    """Whether float64 itself holds the values apart, well beyond its rounding errors."""
    gaps = np.diff(np.unique(values))
    return len(gaps) == NUM_ROWS - 1 and bool((gaps > 1e-12 * np.abs(values).max()).all())


def count(values: Any) -> int:
    """The number of distinct values in a column, as XLA sees them: below the smallest normal one is 0."""
    values = np.asarray(values).ravel()
    if values.dtype == np.float32:
        values = np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), values)
    return len(np.unique(values))


def other(x: np.ndarray) -> np.ndarray:
    return np.stack([np.arange(len(x)) / 7, x], axis=1)


PLACES: dict[str, Callable[[np.ndarray], Any]] = {
    "Dataset": lambda x: fn.data.Dataset((x[:, None],)).arrays[0],
    "Dataset of targets": lambda x: fn.data.Dataset((np.ones((len(x), 1)), x)).arrays[1],
    "Dataset of two columns": lambda x: fn.data.Dataset((other(x),)).arrays[0][:, 1],
    "Dataset of a list": lambda x: fn.data.Dataset(([[value] for value in x.tolist()],)).arrays[0],
    "take": lambda x: fn.data.take((x,), np.arange(len(x)))[:][0],
    "split": lambda x: fn.data.split((x,), (len(x) - 1, 1), None)[0][:][0],
    "kfold": lambda x: fn.data.kfold((x,), 2, KEY()).train.arrays[0],
    "batches": lambda x: next(fn.data.batches((x,), len(x))).example[0],
    "bootstrap": lambda x: fn.data.bootstrap((x,), KEY()).arrays[0],
    "Scaler": lambda x: fn.data.Scaler.fit(x).transform(x),
    "Scaler of two columns": lambda x: fn.data.Scaler.fit(other(x)).transform(other(x))[:, 1],
    "Scaler to a range": lambda x: fn.data.Scaler.fit((x[:, None],), "minmax").transform((x[:, None],))[0],
    "a Dataset of scaled numbers": lambda x: fn.data.Dataset(fn.data.Scaler.fit(x).transform(x)).arrays,
}


def outcome(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns, and the sentence of its ValueError."""
    try:
        return function(), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("name", PLACES)
@settings(max_examples=40)
@given(x=columns())
def test_distinct_values_stay_distinct_or_are_counted(name: str, x: np.ndarray) -> None:
    values, message = outcome(lambda: PLACES[name](x))
    if counts := re.search(KEPT, message):
        distinct, kept = (int(text.replace(",", "")) for text in counts.groups())
        assert kept < 0.99 * distinct <= NUM_ROWS
    elif message:
        assert "must fit in float32" in message
        assert np.abs(x).max() > np.finfo(np.float32).max
    elif has_digits(x):
        assert count(values) >= 0.99 * NUM_ROWS - (name == "split")
    assert not (message and "Scaler" in name and has_digits(x))


@settings(max_examples=60)
@given(x=columns())
def test_a_scaler_undoes_itself_in_float64(x: np.ndarray) -> None:
    if not has_digits(x):
        return
    scaler = fn.data.Scaler.fit(x)
    scaled = np.asarray(scaler.transform(x))
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std() - 1) < 1e-5
    restored = scaler.inverse_transform(scaled.astype(np.float64))
    np.testing.assert_allclose(restored, x, atol=1e-6 * float(scaler.scale), rtol=1e-15)
    restored, message = outcome(lambda: scaler.inverse_transform(jnp.asarray(scaled)))
    if message:  # in float32 it is nearly as exact, or a sentence
        assert "must be float64" in message
    else:
        assert np.abs(np.asarray(restored, np.float64) - x).max() <= 2e-3 * float(scaler.scale)


@pytest.mark.parametrize("kind", ["standard", "minmax"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.float64])
def test_integers_are_centred_before_they_are_floats(kind: Any, dtype: Any) -> None:
    x = (1_700_000_000 + np.arange(60)).astype(dtype)[:, None]
    scaler = fn.data.Scaler.fit(x, kind)
    expected = {"standard": (x - x.mean()) / x.std(), "minmax": np.arange(60.0)[:, None] / 59}[kind]
    np.testing.assert_allclose(scaler.transform(x), expected, atol=1e-6)
    if np.issubdtype(dtype, np.integer):  # a Dataset holds them exactly
        data = fn.data.Dataset((x,))
        np.testing.assert_allclose(
            fn.data.Scaler.fit(data, kind).transform(data).arrays[0], expected, atol=1e-6
        )


def test_statistics_of_float32_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    x = (1e4 + rng.normal(size=(200_000, 2))).astype(np.float32)
    weight = rng.integers(0, 3, len(x))
    scaler = fn.data.Scaler.fit(fn.data.Dataset((jnp.asarray(x),), weight=weight))
    mean = np.average(x.astype(np.float64), 0, weight)
    spread = np.sqrt(np.average((x.astype(np.float64) - mean) ** 2, 0, weight))
    np.testing.assert_allclose(scaler.shift, mean, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, spread, rtol=1e-12)


def test_sizes_at_the_ends_of_float64_are_scaled() -> None:
    steps = np.arange(40.0)
    for unit in (1e-300, 1e-40, 1e39, 1e300):
        scaler = fn.data.Scaler.fit(unit * steps)
        np.testing.assert_allclose(scaler.transform(unit * steps), (steps - 19.5) / steps.std(), rtol=1e-5)


def test_ordinary_columns_are_never_refused() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    ordinary = {
        "normal": rng.normal(size=n),
        "uniform": rng.uniform(size=n),
        "far from 0": rng.normal(1000, 10, n),
        "lognormal": rng.lognormal(0, 5, n),
        "years": rng.integers(1990, 2025, n).astype(float),
        "mostly 0": rng.normal(size=n) * (rng.uniform(size=n) < 0.01),
        "probabilities of a test": 10.0 ** -rng.uniform(0, 60, n),
        "rounding errors": np.where(rng.uniform(size=n) < 0.5, 0.1 + 0.2, 0.3),
        "constant": np.full(n, 0.1),
        "text of two digits": rng.integers(0, 10_000, n) / 100,
    }
    for name, x in ordinary.items():
        fn.data.Dataset((x[:, None], x)), name
    with pytest.raises(ValueError, match=KEPT):
        fn.data.Dataset(rng.permutation(1.7e9 + np.arange(n)))


def test_nothing_is_narrowed_with_64_bits() -> None:
    with jax.enable_x64(True):
        x, y = fn.data.Dataset((1.7e9 + np.arange(60.0)[:, None], 2**40 + np.arange(60))).arrays
        assert (count(x), count(y), x.dtype) == (60, 60, np.float64)
        assert count(fn.data.Dataset(1e-40 * np.arange(60)).arrays) == 60
        assert fn.data.Scaler.fit(x).transform(x).dtype == np.float64


REFUSED = {
    "1e39": (
        np.full((3, 2), 1e39),
        r"data must fit in float32, at most 3.4e\+38 in size, got 1e\+39 at \[0, 0\]",
    ),
    "times": (1.7e9 + np.arange(60.0)[:, None], r"column 0 of data has 60 .* keeps 1\. .*Scaler\.fit\(x\)"),
    "tiny": (
        1e-40 * np.arange(1, 41),
        r"data has 40 different values, such as 1e-40, .* keeps 1\.",
    ),
    "ids": (2**40 + np.arange(3), r"must fit in 32-bit integers, got 1099511627776\..*x - x\.min"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_lost_is_named(name: str) -> None:
    x, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        fn.data.Dataset(x)


def test_a_label_keeps_its_digits() -> None:
    labels = 1e6 + 0.001 * (np.arange(40) % 4)
    np.testing.assert_allclose(fn.data.class_weights(labels), 1.0)
    parts = fn.data.split((np.arange(40),), (20, 20), KEY(), stratify=2**40 + np.arange(40) % 4)
    assert [np.bincount(part[:][0] % 4).tolist() for part in parts] == [[5] * 4] * 2
    folds = fn.data.kfold((np.arange(40),), 4, KEY(), groups=labels)
    assert [len(set((valid[:][0] % 4).tolist())) for _, valid in folds] == [1] * 4


def write(path: Path, x: np.ndarray, y: Any) -> Path:
    lines = [f"{float(a)!r},{i % 7},{b}" for i, (a, b) in enumerate(zip(x, y, strict=True))]
    path.write_text("\n".join(["time,day,y", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("offset", "unit"),
    [
        *((1.7e9, 1.0), (0.0, 1e39)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1.7e12, 1.0), (0.0, 1e-42)]),
    ],
)
def test_a_model_learns_from_the_digits_of_a_column(offset: float, unit: float, tmp_path: Path) -> None:
    steps = np.arange(200.0)
    labels = np.where(steps < 100, "no", "yes")
    table = fn.data.load(write(tmp_path / "t.csv", offset + unit * steps, labels))
    with pytest.raises(ValueError, match=r"column 'time' (has 200 different values|must fit in float32)"):
        _ = table.data
    X, y = table.arrays
    MLPClassifier(cv=2, members=1, max_iter=20).fit(X, y).save(tmp_path / "model")
    predicted = MLPClassifier.load(tmp_path / "model").predict(X)
    assert np.mean(predicted == y) > 0.95


def test_a_target_keeps_its_digits(tmp_path: Path) -> None:
    steps = np.arange(200.0)
    target = 1.7e9 + steps / 2
    table = fn.data.load(write(tmp_path / "t.csv", steps, map(repr, target.tolist())))
    with pytest.raises(ValueError, match=r"the target 'y' has 200 different values.*y = fn\.data\.Scaler"):
        _ = table.data
    model = MLPRegressor(cv=2, members=1, max_iter=40).fit(*table.arrays)
    assert np.abs(model.predict(table.arrays[0]) - target).mean() < 10
    assert model.report()["mae"] < 10


def test_an_outlier_that_scaling_does_not_help_is_named(tmp_path: Path) -> None:
    times = np.where(np.arange(200) < 3, 0.0, 1.7e9 + np.arange(200))
    table = fn.data.load(write(tmp_path / "t.csv", times, np.arange(200) % 2))
    with pytest.raises(ValueError, match=rf"column 'time' has {KEPT}"):
        _ = table.data
    with pytest.raises(ValueError, match=f"{KEPT}.*Even after scaling"):
        fn.data.Scaler.fit(times)

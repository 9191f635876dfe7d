"""Averages of weights: kept in float32 for a model in half precision, and with statistics of their own."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
import tables

import funcnet as fn

HALF = ml_dtypes.bfloat16


def the_key() -> jax.Array:
    return jax.random.key(5)


def _upward(model: Any, example: Any, key: Any) -> jax.Array:
    """A loss with gradient -1."""
    del example, key
    return -model.astype(jnp.float32)


@pytest.mark.parametrize(
    "dtype", tables.marked(["bfloat16", "float16", "float32"], slow={"float16", "float32"})
)
def test_the_moving_average_of_a_half_precision_weight_is_that_in_float32(dtype: str) -> None:
    train = fn.fit(_upward, optax.sgd(2.0**-6), epochs=200, batch_size=1, shuffle=False, ema=0.99)
    run = train(jnp.zeros((), dtype), np.zeros(1, np.float32), the_key())
    steps = np.arange(1, 201) / 64  # exact in bfloat16 while the sum needs at most 8 bits
    weights = np.cumsum(np.full(200, 1 / 64)) if dtype == "float32" else _rounded_steps(dtype)
    assert dtype != "float32" or (weights == steps).all()
    expected = np.average(weights, weights=0.99 ** np.arange(199, -1, -1))
    assert run.state.opt_state.average.dtype == jnp.float32
    np.testing.assert_allclose(run.state.opt_state.average, expected, rtol=1e-5)
    assert run.model.dtype == dtype
    rounding = 1e-6 if dtype == "float32" else 0.0  # of 200 additions, which optimised code may reorder
    np.testing.assert_allclose(float(run.model), float(jnp.asarray(expected, dtype)), rtol=rounding)


def _rounded_steps(dtype: str) -> np.ndarray:
    w, weights = np.zeros((), dtype), []
    for _ in range(200):
        w = (w + np.asarray(2.0**-6, dtype)).astype(dtype)
        weights.append(float(w))
    return np.array(weights)


def test_the_mean_of_half_precision_models_is_that_in_float32() -> None:
    average = fn.train.AverageWeights()
    train = fn.fit(_upward, optax.sgd(2.0**-6), epochs=200, batch_size=1, shuffle=False)
    fn.Trainer(train, callbacks=[average])(jnp.zeros((), HALF), np.zeros(1, np.float32), the_key())
    assert average.model.dtype == HALF
    assert float(average.model) == float(np.mean(_rounded_steps("bfloat16")).astype(HALF))


@pytest.mark.parametrize("name", tables.marked(["linear-regression", "mlp"], slow={"mlp"}))
def test_training_in_half_precision_is_that_in_float32_up_to_rounding(name: str) -> None:
    case = tables.MODELS[name]
    data = case.rows(24)

    def train(dtype: str) -> list[Any]:
        model = fn.Precision(param=dtype).cast_parameters(case.init())
        average = fn.train.AverageWeights(start=1)
        fit = fn.fit(
            case.loss(), optax.sgd(0.05, momentum=0.9), epochs=4, batch_size=8, shuffle=False, ema=0.9
        )
        inputs = np.asarray(data[0], dtype), data[1]
        run = fn.Trainer(fit, callbacks=[average])(model, inputs, the_key())
        return [run.state.model, run.model, average.model, dict(run.history)]

    half, full = train("bfloat16"), train("float32")
    start = case.init()
    for which, (a, b) in enumerate(zip(half, full, strict=True)):
        for low, high in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            # A weight is rounded to 8 bits in each of 12 steps.
            np.testing.assert_allclose(
                np.asarray(low, float), high, rtol=0.04, atol=0.02, err_msg=str(which)
            )
    moved = [abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (start, full[0])), strict=True)]
    assert max(moved) > 0.1


NORM = fn.Sequential(fn.Linear(3, 4), fn.layers.BatchNorm(4), jnp.tanh, fn.Linear(4, "scalar"))
X = 3 + 2 * np.random.default_rng(1).normal(size=(44, 3)).astype(np.float32)
ROWS = X, np.sin(X[:, 0])
SQUARED = fn.losses.supervised(fn.losses.squared_error)


def _statistics(model: Any, epoch: int, batch_size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of each batch of an epoch, averaged by its rows, in float64."""
    weight, bias = (np.asarray(leaf, float) for leaf in (model.layers[0].weight, model.layers[0].bias))
    parts, counts = [], []
    for batch in fn.data.batches(ROWS, batch_size, None, epoch):
        x = np.asarray(batch.example[0], float)[np.asarray(batch.weight) > 0]
        hidden = x @ weight + bias
        parts.append([hidden.mean(0), hidden.var(0, ddof=1)])
        counts.append(len(x))
    mean, variance = np.average(parts, axis=0, weights=counts)
    return mean, variance


@pytest.mark.parametrize("source", ["arrays", pytest.param("stream", marks=pytest.mark.slow)])
def test_averaged_weights_get_statistics_of_their_own(source: str, tmp_path: Any) -> None:
    average, models, start = fn.train.AverageWeights(start=2), [], jax.jit(NORM.init)(the_key())
    train = fn.fit(SQUARED, optax.sgd(0.1), epochs=5, batch_size=8, shuffle=False)
    data: Any = ROWS
    if source == "stream":
        for name, rows in zip("xy", ROWS, strict=True):
            np.save(tmp_path / f"{name}.npy", rows)
        data = fn.data.Stream.npy((tmp_path / "x.npy", tmp_path / "y.npy"))
    callbacks = [average, lambda context: models.append(context.model)]
    run = fn.Trainer(train, callbacks=callbacks)(start, data, the_key())
    norm = average.model.layers[1]
    for path in ("weight", "bias"):
        mean = np.mean([getattr(model.layers[0], path) for model in models[2:]], axis=0)
        np.testing.assert_allclose(getattr(average.model.layers[0], path), mean, rtol=1e-5, atol=1e-6)
    mean, variance = _statistics(average.model, epoch=5)
    np.testing.assert_allclose(norm.mean.value, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.variance.value, variance, rtol=1e-4)
    # The run itself is not affected.
    plain = train(start, ROWS, the_key())
    tables.assert_close(run.model, plain.model, factor=5)


@pytest.mark.parametrize("decay", [0.999, 0.9999, 0.999999])
def test_the_first_moving_average_is_the_first_model(decay: float) -> None:
    train = fn.fit(lambda w, e, k: -w, optax.sgd(1.0), epochs=1, batch_size=1, ema=decay)
    run = train(jnp.zeros(()), np.zeros(1, np.float32), the_key())
    assert float(run.model) == pytest.approx(float(run.state.model), rel=1e-6)


def test_an_average_of_no_models_is_the_last_one() -> None:
    row, average = tables.MODELS["linear-regression"], fn.train.AverageWeights(start=9)
    trainer = fn.Trainer(fn.fit(row.loss(), optax.sgd(0.1), epochs=2), callbacks=[average])
    run = trainer(jax.jit(row.net.init)(the_key()), row.rows(8), the_key())
    assert average.count == 0
    assert tables.same_bits(average.model, run.model)


def test_models_without_statistics_are_not_passed_over_the_data() -> None:
    average = fn.train.AverageWeights()
    row = tables.MODELS["linear-regression"]
    read: list[int] = []

    def factory() -> Any:
        read.append(1)
        return iter([row.rows(8)])

    stream = fn.data.Stream.from_batches(factory, 1)
    fn.Trainer(fn.fit(row.loss(), optax.sgd(0.1), epochs=2), callbacks=[average])(
        row.init(), stream, the_key()
    )
    assert len(read) == 1 + 2  # its first rows, and two epochs


def test_an_average_begins_with_an_epoch():
    with pytest.raises(TypeError, match=r"start must be an integer, got 0\.8"):
        fn.train.AverageWeights(start=0.8)

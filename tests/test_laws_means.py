"""Laws 3, 4, 5: means are exact, micro-batches are one batch, and padding is invisible."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import lazy_key
from tables import assert_close, same_bits

import funcnet as fn

KEY = lazy_key(5)


def _weighted_means(case: tables.Model, model: Any, data: fn.data.Dataset) -> dict[str, float]:
    """Weighted means of loss and metrics in numpy's float64, from each row's own value."""
    values, logged = jax.jit(jax.vmap(lambda row: case.loss()(model, row, None)))(data[:])
    weight = np.asarray(data.weights(), np.float64)
    each = {"loss": values, **logged}
    return {name: np.average(np.asarray(v, np.float64), weights=weight) for name, v in each.items()}


def _slow(case: Any, quick: tuple[Any, ...]) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=() if case in quick else pytest.mark.slow)


@pytest.mark.parametrize("sizes", ["some", pytest.param("all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [_slow(name, ("weighted-rows",)) for name in tables.DATASETS])
def test_evaluate_is_numpys_weighted_mean_for_each_batch_size(name: str, sizes: str) -> None:
    case, data = tables.MODELS["mlp"], tables.dataset(name, "mlp")
    expected, n = _weighted_means(case, case.init(), data), len(data)
    for size in range(1, n + 4) if sizes == "all" else (4, n + 3):
        got = fn.evaluate(case.loss(), case.init(), data, batch_size=size)
        assert set(got) == set(expected)
        for metric, value in expected.items():
            np.testing.assert_allclose(
                got[metric], value, rtol=1e-5, err_msg=f"{metric}, batch size {size}"
            )


@pytest.mark.parametrize("name", tables.MODELS)
def test_evaluate_and_predict_are_exact_for_each_model(name: str) -> None:
    case, data = tables.MODELS[name], tables.dataset("weighted", name)
    model = case.init()
    expected = _weighted_means(case, model, data)
    for metric, value in fn.evaluate(case.loss(), model, data, batch_size=8).items():
        np.testing.assert_allclose(value, expected[metric], rtol=1e-5)
    x = data[:][0]
    assert_close(fn.predict(model, x, batch_size=8), jax.jit(model)(x))


def test_predict_keeps_rows_and_order_for_each_batch_size() -> None:
    model, data = tables.MODELS["linear"].init(), tables.dataset("rows", "linear")
    predict, x = jax.jit(lambda model, x: model(x)), data[:][0]
    expected = np.asarray(predict(model, x))
    for size in (1, 4, 12):
        assert_close(fn.predict(model, np.asarray(x)[:9], batch_size=size), expected[:9])
    view = fn.data.Dataset(data.arrays[0], rows=data.rows)
    assert_close(fn.predict(model, view, batch_size=4), expected)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({}, marks=pytest.mark.slow), {"batch_size": 5, "accumulate": 2}],
)
def test_the_epoch_loss_of_a_model_at_rest_is_evaluate(settings: dict[str, Any]) -> None:
    case, data = tables.MODELS["linear"], tables.dataset("weighted-rows", "linear")
    train = fn.fit(case.loss(), optax.sgd(0.0), **{"epochs": 2, "batch_size": 4, **settings})
    run = train(case.init(), data, KEY())
    for name, value in _weighted_means(case, case.init(), data).items():
        np.testing.assert_allclose(run.history[name], [value, value], rtol=1e-5, err_msg=name)


def _moved(case: tables.Model, batch: Any, accumulate: int = 1, model: Any = None) -> Any:
    """The model and info after one step of plain gradient descent at rate 1, so that gradients show."""
    model = case.init() if model is None else model
    state = fn.TrainState.create(model, optax.sgd(1.0), KEY())
    return jax.jit(fn.step(case.loss(), optax.sgd(1.0), accumulate=accumulate))(state, batch)


def _batch(case: tables.Model, n: int = 12) -> fn.data.Batch:
    weight = np.random.default_rng(3).uniform(0.1, 4.0, n).astype(np.float32)
    weight[2] = 0.0
    return fn.data.Batch(case.rows(n), jnp.asarray(weight))


@pytest.mark.parametrize(
    "name", [name for name in tables.TRAINED if name not in tables.RANDOM + tables.BATCHED]
)
def test_a_step_is_the_gradient_of_the_weighted_mean(name: str) -> None:
    case = tables.MODELS[name]
    batch, model = _batch(case), case.init()

    def mean(model: Any) -> jax.Array:
        losses = jax.vmap(lambda row: case.loss()(model, row, None)[0])(batch.example)
        return jnp.average(losses, weights=batch.weight)

    value, gradient = jax.jit(jax.value_and_grad(mean))(model)
    state, info = _moved(case, batch)
    moved = jax.tree.map(lambda a, g, p: a - g if p else a, model, gradient, fn.trainable(model))
    assert_close(state.model, moved)
    np.testing.assert_allclose(info.loss, value, rtol=1e-5)


BY_ROW = [name for name in tables.TRAINED if name not in tables.BATCHED]


# With dropout a key that goes to another row shows, too.
@pytest.mark.parametrize("name", tables.marked(BY_ROW, slow=set(BY_ROW) - {"mlp-dropout"}))
def test_micro_batches_are_one_batch(name: str) -> None:
    case = tables.MODELS[name]
    batch = _batch(case)
    whole, whole_info = _moved(case, batch)
    cut, info = _moved(case, batch, accumulate=3)
    assert_close(
        (cut.model, info.metrics, info.weight), (whole.model, whole_info.metrics, whole_info.weight)
    )


@pytest.mark.parametrize(
    ("n", "size", "parts"),
    [_slow(case, ((19, 4, 2),)) for case in [(19, 4, 2), (10, 4, 3), (7, 8, 2), (5, 1, 4)]],
)
def test_accumulating_fits_are_the_fit_of_the_large_batch(n: int, size: int, parts: int) -> None:
    case = tables.MODELS["mlp-dropout"]
    data = fn.data.Dataset(case.rows(n), weight=_batch(case, n).weight)
    loss, optimizer = case.loss(), tables.OPTIMIZERS["momentum"]
    small = fn.fit(loss, optimizer, epochs=2, batch_size=size, accumulate=parts)
    large = fn.fit(loss, optimizer, epochs=2, batch_size=size * parts)
    assert_close(small(case.init(), data, KEY()), large(case.init(), data, KEY()), factor=5)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("name", "huge"),
    [
        *((name, 1e30) for name in tables.TRAINED),
        *(pytest.param(name, LARGEST, marks=pytest.mark.slow) for name in tables.QUICK),
    ],
)
def test_rows_of_weight_zero_are_invisible_whatever_they_hold(name: str, huge: float) -> None:
    case = tables.MODELS[name]
    x, y = map(np.asarray, case.rows(6))
    odd = y[:2] if y.dtype.kind == "i" else np.full_like(y[:2], -huge)
    strange = np.full_like(x[:2], np.iinfo(np.int32).max if case.tokens else huge)
    example = np.concatenate([x, strange]), np.concatenate([y, odd])
    weight = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.0, 0.0], np.float32)
    plain = fn.data.Batch((x, y), weight[:6])
    padded = fn.data.Batch(example, weight)
    # The micro-batches of other models are compared with a whole batch in the test before.
    for parts in (1, 2) if name == "mlp-dropout" else (1,):
        assert_close(_moved(case, padded, parts)[0].model, _moved(case, plain, parts)[0].model)
    expected = fn.evaluate(case.loss(), case.init(), fn.data.Dataset((x, y), weight=weight[:6]))
    got = fn.evaluate(case.loss(), case.init(), fn.data.Dataset(example, weight=weight), batch_size=3)
    assert_close(got, expected)


QUICK_OPTIMIZERS = ("adamw", "lbfgs")


@pytest.mark.parametrize("name", [_slow(name, QUICK_OPTIMIZERS) for name in tables.OPTIMIZERS])
def test_a_batch_in_which_no_row_counts_moves_nothing(name: str) -> None:
    case, optimizer = tables.MODELS["linear"], tables.OPTIMIZERS[name]
    step = jax.jit(fn.step(case.loss(), optimizer))
    state = fn.TrainState.create(case.init(), optimizer, KEY())
    state, _ = step(state, _batch(case))
    after, info = step(state, fn.data.Batch(case.rows(12, seed=4), np.zeros(12, np.float32)))
    assert same_bits((after.model, after.opt_state), (state.model, state.opt_state))
    assert float(info.weight) == 0.0
    moved, _ = step(state, _batch(case))
    assert not same_bits(moved.model, state.model)


def test_a_batchwise_loss_sees_weights_and_counts_by_them() -> None:
    case, data = tables.MODELS["linear-regression"], tables.dataset("weighted", "linear-regression")

    @fn.losses.batchwise
    def whole(model: Any, batch: Any, weight: jax.Array, key: Any) -> Any:
        x, y = batch
        errors = (model(x) - y) ** 2
        return jnp.sum(errors * weight) / jnp.maximum(jnp.sum(weight), 1e-9), {
            "absolute_error": jnp.sum(jnp.abs(model(x) - y) * weight) / jnp.maximum(jnp.sum(weight), 1e-9)
        }

    settings = {"epochs": 2, "batch_size": 8, "shuffle": False}
    by_row = fn.fit(case.loss(), optax.sgd(0.1), **settings)(case.init(), data, KEY(), data)
    by_batch = fn.fit(whole, optax.sgd(0.1), **settings)(case.init(), data, KEY(), data)
    assert_close(by_batch, by_row, factor=5)


def test_a_row_of_weight_zero_gets_its_own_prediction():
    x = np.arange(6, dtype=np.float32)[:, None]
    data = fn.data.Dataset((x, x[:, 0]), weight=np.array([1.0, 0, 1, 0, 1, 1]))
    assert fn.predict(lambda x: x[0], data).tolist() == x[:, 0].tolist()
    assert fn.predict(lambda x: x[0], fn.data.Dataset(x, weight=data.weight)).tolist() == x[:, 0].tolist()


def test_a_batch_of_nothing_but_huge_rows_of_weight_zero_ends_nothing():
    x, y = (np.append(np.linspace(0, 1, 4), np.full(4, huge)).astype(np.float32) for huge in (1e30, 3e38))
    data = fn.data.Dataset((x[:, None], y), weight=np.array([1.0] * 4 + [0.0] * 4))
    train = fn.fit(
        tables.MODELS["linear-regression"].loss(), optax.sgd(0.1), epochs=3, batch_size=4, shuffle=False
    )
    run = train(fn.models.LinearRegression(1).init(jax.random.key(0)), data, jax.random.key(1))
    assert run.outcome is fn.Outcome.FINISHED
    assert np.isfinite(run.history["loss"]).all()


def test_a_batchwise_mean_of_no_rows_counts_nowhere():
    @fn.losses.batchwise
    def weighted_mean(model, batch, weight, key):
        return jnp.sum(weight * (model(batch[0]) - batch[1]) ** 2) / jnp.sum(weight)

    x = np.arange(6, dtype=np.float32)[:, None]
    data = fn.data.Dataset((x, 2 * x[:, 0]), weight=np.array([1.0, 1, 0, 0, 1, 1]))
    model = fn.models.LinearRegression(1).init(jax.random.key(0))
    whole, cut = (fn.evaluate(weighted_mean, model, data, batch_size=n) for n in (6, 2))
    assert_close(cut, whole)
    train = fn.fit(weighted_mean, optax.sgd(0.01), epochs=2, batch_size=2, shuffle=False)
    assert train(model, data, jax.random.key(1)).outcome is fn.Outcome.FINISHED


def _row_itself(model: Any, row: Any, key: Any) -> Any:
    return row + 0 * model


@functools.cache
def _train_on_rows() -> Any:
    return fn.fit(_row_itself, optax.sgd(0.0), epochs=1, batch_size=1, shuffle=False)


@pytest.mark.parametrize("count", [10**6, pytest.param(10**7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("values", ["constant", "alternating", "growing"])
def test_means_over_millions_of_batches_are_exact(values: str, count: int) -> None:
    rows = {
        "constant": np.full(count, 0.1),
        "alternating": np.where(np.arange(count) % 2, -1e3, 1e3 + 0.1),
        "growing": np.linspace(0, 1, count),
    }[values].astype(np.float32)

    expected = rows.astype(np.float64).mean()
    train = _train_on_rows()
    run = train(jnp.array(0.0), rows, KEY())
    np.testing.assert_allclose(run.history["loss"][0], expected, rtol=1e-6)
    actual = fn.evaluate(_row_itself, jnp.array(0.0), rows, batch_size=1)["loss"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("rest", [0.0, 1e-8, jnp.inf, jnp.nan])
def test_a_sum_that_is_not_finite_stays_so(rest: float) -> None:
    totals = fn.transform._objective.RunningTotals(jnp.array([3e38 + 0j]))
    sums = totals.add(jnp.array([3e38])).add(jnp.array([rest])).sums
    total = sums.real + sums.imag
    assert not np.isfinite(total).any()
    assert np.isnan(total).all() == np.isnan(rest)

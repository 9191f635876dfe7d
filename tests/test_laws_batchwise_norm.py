"""Laws of BatchNorm in a loss of the whole batch: padding and weights count as in a loss of one example."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import lazy_key
from tables import assert_close, assert_trained_alike, same_bits

import funcnet as fn

KEY = lazy_key(3)
NET = fn.Sequential(
    fn.Linear(3, 4, use_bias=False), fn.layers.BatchNorm(4), jnp.tanh, fn.Linear(4, "scalar")
)
BY_ROW = fn.losses.supervised(fn.losses.squared_error)


@fn.losses.batchwise
def by_batch(model: Any, batch: Any, weight: jax.Array, key: Any) -> jax.Array:
    x, y = batch
    return jnp.sum(weight * (model(x, key=key) - y) ** 2) / jnp.sum(weight)


@fn.losses.batchwise
def of_views(model: Any, batch: Any, weight: jax.Array, key: Any) -> jax.Array:
    """Two views of each row through one model: its statistics are updated twice."""
    x, y = batch
    a, b = model(x, key=key), model(2 * x + 1, key=key)
    return jnp.sum(weight * ((a - y) ** 2 + (a - b) ** 2)) / jnp.sum(weight)


def _model() -> fn.Module:
    return jax.jit(NET.init)(KEY())


def _rows(n: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    return x, np.sin(x[:, 0])


def _weighted(n: int) -> fn.data.Dataset:
    weight = np.random.default_rng(1).integers(0, 4, n) / 2
    return fn.data.Dataset(_rows(n), weight=weight.astype(np.float32))


@functools.cache
def _step(loss: Any) -> Any:
    return jax.jit(fn.step(loss, optax.sgd(1.0)))


def _moved(loss: Any, rows: Any, weight: Any = None) -> Any:
    """The model after one step at rate 1, statistics included, and the loss before it."""
    weight = np.ones(len(rows[0])) if weight is None else np.asarray(weight)
    state = fn.TrainState.create(_model(), optax.sgd(1.0), KEY())
    state, info = _step(loss)(state, fn.data.Batch(rows, weight.astype(np.float32)))
    return state.model, info.loss


def test_a_batchwise_loss_trains_as_the_loss_of_one_example() -> None:
    data = _weighted(21)
    by_row, whole = (
        fn.fit(loss, optax.adam(1e-2), epochs=3, batch_size=8, shuffle=False)(_model(), data, KEY(), data)
        for loss in (BY_ROW, by_batch)
    )
    assert_close(whole, by_row, factor=5)
    assert_close(
        fn.evaluate(by_batch, whole.model, data, 4), fn.evaluate(BY_ROW, whole.model, data), factor=5
    )


@pytest.mark.parametrize("loss", [pytest.param(by_batch, marks=pytest.mark.slow), of_views])
def test_rows_of_weight_zero_are_invisible_and_a_weight_of_two_is_two_rows(loss: Any) -> None:
    x, y = _rows(5)
    padded = np.concatenate([x, x[:3] + 1e3]), np.concatenate([y, y[:3] - 1e3])
    assert_close(_moved(loss, padded, [1] * 5 + [0] * 3), _moved(loss, (x, y)))
    twice = jax.tree.map(lambda a: np.concatenate([a, a[:2]]), (x, y))
    assert_close(_moved(loss, (x, y), [2, 2, 1, 1, 1]), _moved(loss, twice))


def test_a_layer_that_is_called_twice_updates_its_statistics_in_order() -> None:
    x, y = _rows(5)
    model, _ = _moved(of_views, (x, y))
    mean, weight = np.zeros(4), np.asarray(_model().layers[0].weight)
    for view in (x, 2 * x + 1):
        mean = 0.9 * mean + 0.1 * np.mean(view @ weight, axis=0)
    np.testing.assert_allclose(model.layers[1].mean.value, mean, rtol=1e-5)


def test_views_stacked_on_the_second_axis_are_normalized_together() -> None:
    @fn.losses.batchwise
    def stacked(model: Any, batch: Any, weight: jax.Array, key: Any) -> jax.Array:
        x, y = batch
        a = model(jnp.stack([x, 2 * x + 1], axis=1), key=key)
        return jnp.sum(weight[:, None] * (a - y[:, None]) ** 2) / (2 * jnp.sum(weight))

    x, y = _rows(6)
    concatenated = (np.concatenate([x, 2 * x + 1]), np.concatenate([y, y]))
    assert_close(_moved(stacked, (x, y)), _moved(by_batch, concatenated))


@pytest.mark.slow
def test_all_ways_to_train_end_alike() -> None:
    data = _weighted(21)
    train = fn.fit(of_views, optax.adam(1e-2), epochs=2, batch_size=8)
    run = train(_model(), data, KEY())
    assert_trained_alike(train, NET, data, KEY(), run)
    assert same_bits(fn.Trainer(train, progress=False)(_model(), data, KEY()), run)


def _call(model_call: Any) -> Any:
    loss = fn.losses.batchwise(lambda model, batch, weight, key: jnp.mean(model_call(model, batch[0], key)))
    return fn.fit(loss, optax.sgd(0.1), epochs=1, batch_size=4, shuffle=False)(_model(), _rows(8), KEY())


@pytest.mark.parametrize(
    "model_call",
    [
        lambda model, x, key: jax.vmap(lambda row: model(row, key=key))(x),
        lambda model, x, key: model(jnp.concatenate([x, x]), key=key),
        lambda model, x, key: model(jnp.stack([x] * 3), key=key),
    ],
)
def test_other_rows_than_those_of_the_batch_are_refused(model_call: Any) -> None:
    with pytest.raises(ValueError, match=r"jnp\.stack\(\[a, b\], axis=1\), key=key\)"):
        _call(model_call)

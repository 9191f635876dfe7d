"""What the settings of `fit` promise: `on_nan`, `eval_every`, `ema`, and stopping seen from the outside."""

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

KEY = lazy_key(31)
CASE = tables.MODELS["linear-regression"]
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
BAD_ROW = 13
# What is not finite is found in the same way whatever comes of it.
OTHERS = [("stop", "gradient"), ("skip", "value"), ("ignore", "gradient")]


@jax.custom_jvp
def _steep(error: jax.Array, mark: jax.Array) -> jax.Array:
    """Zero, with a slope that is not a number where the mark is set."""
    return 0 * error


@_steep.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return 0 * primals[0], jnp.where(primals[1], jnp.nan, 0.0) * tangents[0]


@functools.cache
def _loss_with(bad: str) -> Any:
    """A squared error that breaks on the marked row: in its value, or in its gradient alone."""

    def loss(model: Any, example: Any, key: Any) -> jax.Array:
        x, y, mark = example
        error = model(x) - y
        if bad == "value":
            return error**2 * jnp.where(mark, jnp.nan, 1.0)
        return error**2 + _steep(error, mark)

    return loss


@functools.cache
def _step() -> Any:
    """A step on rows that are not marked: on these both losses are the squared error."""
    return jax.jit(fn.step(_loss_with("value"), OPTIMIZER, on_nan="ignore"))


def _marked() -> tuple[Any, ...]:
    x, y = CASE.rows(20)
    return x, y, np.arange(20) == BAD_ROW


def _by_hand(on_nan: str, epochs: int) -> tuple[list[fn.TrainState], int]:
    """The states after each good step, and how many steps came before the first bad batch."""
    step = _step()
    state = fn.TrainState.create(CASE.init(), OPTIMIZER, KEY())
    states, first = [state], -1
    for epoch in range(epochs):
        for batch in fn.data.batches(_marked(), 4, epoch=epoch):
            if (np.asarray(batch.example[2]) & (np.asarray(batch.weight) > 0)).any():
                first = len(states) - 1 if first < 0 else first
                if on_nan == "stop":
                    return states, first
                continue
            state, _ = step(state, batch)
            states.append(state)
    return states, first


@pytest.mark.parametrize(
    ("on_nan", "bad"),
    [
        *(("stop", "value"), ("skip", "gradient"), ("ignore", "value")),
        *(pytest.param(on_nan, bad, marks=pytest.mark.slow) for on_nan, bad in OTHERS),
    ],
)
def test_what_happens_when_a_number_is_not_finite(on_nan: Any, bad: str) -> None:
    epochs = 3
    train = fn.fit(_loss_with(bad), OPTIMIZER, epochs=epochs, batch_size=4, on_nan=on_nan, shuffle=False)
    run = train(CASE.init(), _marked(), KEY())
    states, first = _by_hand(on_nan, epochs)
    assert first > 0
    if on_nan == "ignore":
        assert run.outcome is fn.Outcome.FINISHED
        assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(run.model))
        return
    assert_close(run.model, states[-1].model)
    assert_close(run.state.opt_state, states[-1].opt_state)
    if on_nan == "stop":
        assert run.outcome is fn.Outcome.NOT_FINITE
        assert int(run.state.step) == first
        assert np.isnan(run.history["loss"][1:]).all()
        assert int(run.state.epoch) == 0
    else:
        assert run.outcome is fn.Outcome.FINISHED
        assert int(run.state.epoch) == epochs


def test_a_diverging_member_stops_alone_with_its_last_finite_weights() -> None:
    data, model = CASE.rows(20), CASE.init()

    def train(rate: jax.Array) -> fn.Run:
        settings = {"epochs": 5, "batch_size": 4, "shuffle": False}
        return fn.fit(CASE.loss(), optax.sgd(rate), **settings)(model, data, KEY(), data)

    runs = jax.jit(jax.vmap(train))(jnp.array([0.05, 100.0]))
    assert list(runs.outcome) == [fn.Outcome.FINISHED, fn.Outcome.NOT_FINITE]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(runs.model))
    good, bad = np.isfinite(runs.history["val_loss"])
    assert good.all()
    stopped = int(runs.state.epoch[1])
    assert 0 < stopped < 5
    assert not bad[stopped:].any()
    assert bad[0]


def _few_and_valid() -> tuple[Any, Any]:
    """So few rows that a network overfits, and rows of validation."""
    case = tables.MODELS["mlp"]
    return case.rows(12, seed=1), case.rows(30, seed=2)


@functools.cache
def _run(**settings: Any) -> fn.Run:
    data, valid = _few_and_valid()
    train = tables.training("mlp", "momentum", **{"epochs": 12, "shuffle": False, **settings})
    return train(tables.MODELS["mlp"].init(), data, KEY(), valid)


@pytest.mark.parametrize("every", tables.marked([5, 3, 20], slow={3, 20}))
def test_epochs_without_evaluation_hold_nan_and_the_last_is_evaluated(every: int) -> None:
    epochs, each, some = 12, _run(), _run(eval_every=every)
    assert_close(some.model, each.model)
    assert int(some.state.epoch) == epochs
    evaluated = np.array([(e + 1) % every == 0 or e == epochs - 1 for e in range(epochs)])
    for name, values in each.history.items():
        seen = evaluated if name.startswith("val_") or name == "train_loss" else np.ones(epochs, bool)
        expected = np.where(seen, values, np.nan)
        np.testing.assert_allclose(some.history[name], expected, rtol=2e-5, atol=1e-6, err_msg=name)


def test_patience_counts_checks_and_not_epochs() -> None:
    case = CASE
    train = fn.fit(
        *(case.loss(), optax.sgd(0.0)),
        epochs=20,
        batch_size=8,
        shuffle=False,
        eval_every=3,
        stopping=fn.EarlyStopping(patience=2),
    )
    run = train(case.init(), case.rows(16), KEY(), case.rows(8, seed=1))
    # The first check, after epoch 3, is the best; two more without improvement end it after epoch 9.
    assert run.outcome is fn.Outcome.PATIENCE_EXHAUSTED
    assert (int(run.state.epoch), int(run.best_epoch)) == (9, 2)
    assert np.flatnonzero(np.isfinite(run.history["val_loss"])).tolist() == [2, 5, 8]


@pytest.mark.parametrize("restore_best", [True, False])
def test_stopping_ends_where_the_values_say_and_returns_those_weights(restore_best: bool) -> None:
    values = np.asarray(_run().history["val_loss"])
    best, wait, ended = -1, 0, len(values)
    for epoch, value in enumerate(values):
        best, wait = (epoch, 0) if best < 0 or value < values[best] else (best, wait + 1)
        if wait == 2:
            ended = epoch + 1
            break
    assert best + 1 < ended < 12, "these rows should overfit; choose others"
    stopping = fn.EarlyStopping(patience=2, restore_best=restore_best)
    run = _run(stopping=stopping)
    assert (int(run.best_epoch), int(run.state.epoch)) == (best, ended)
    assert np.isnan(run.history["loss"][ended:]).all()
    np.testing.assert_allclose(run.history["val_loss"][:ended], values[:ended], rtol=1e-4)
    kept = fn.evaluate(tables.MODELS["mlp"].loss(), run.model, _few_and_valid()[1])["loss"]
    np.testing.assert_allclose(kept, values[best if restore_best else ended - 1], rtol=1e-4)


def test_an_average_is_what_is_evaluated_and_returned() -> None:
    run = _run(ema=0.9)
    assert_close(run.state.model, _run().model, factor=5)
    assert not same_bits(run.model, run.state.model)
    for name, data in zip(("train_loss", "val_loss"), _few_and_valid(), strict=True):
        value = fn.evaluate(tables.MODELS["mlp"].loss(), run.model, data)["loss"]
        np.testing.assert_allclose(run.history[name][-1], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "x64"),
    [("bfloat16", False), pytest.param("float16", False, marks=pytest.mark.slow), ("float32", True)],
)
def test_a_model_keeps_its_dtype_and_its_history_has_at_least_float32(dtype: str, x64: bool) -> None:
    with jax.enable_x64(x64):
        x, y = CASE.rows(19)
        model = jax.tree.map(lambda a: np.asarray(a).astype(jnp.dtype(dtype)), CASE.init())
        data = (np.asarray(x).astype(jnp.dtype(dtype)), y)
        train = fn.fit(CASE.loss(), optax.sgd(0.1), epochs=2, batch_size=8, ema=0.5, shuffle=False)
        run = train(model, data, KEY(), data)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((run.model, run.state.model))} == {dtype}
        assert {values.dtype.name for values in run.history.values()} == {"float32"}
        assert run.history["loss"][1] < run.history["loss"][0]


def test_a_loop_written_by_hand_stops_as_fit_does():
    step = jax.jit(fn.step(lambda w, e, key: (w - e) ** 2, optax.sgd(0.1)))
    state = fn.TrainState.create(jnp.array(0.0), optax.sgd(0.1), jax.random.key(0))
    stopped, info = step(state, jnp.array([jnp.nan]))
    assert not info.finite
    later, _ = step(stopped, jnp.array([1.0]))
    assert float(later.model) == 0.0
    assert int(later.stopping.outcome) == fn.Outcome.NOT_FINITE.code
    assert int(later.step) == int(stopped.step) == 0


class _Count(fn.metrics.Metric):
    """A metric that is an integer."""

    def sums(self, prediction: Any, target: Any) -> Any:
        return (prediction > target).astype(jnp.int32)

    def value(self, sums: Any) -> Any:
        return sums.astype(jnp.int32)


def test_a_metric_that_is_an_integer_is_nan_where_it_was_not_evaluated() -> None:
    loss = fn.losses.supervised(fn.losses.squared_error, count=_Count())
    train = fn.fit(loss, optax.sgd(0.0), epochs=3, eval_every=2, shuffle=False)
    data = np.ones((5, 1), np.float32), np.array([-1.0, -1.0, 2.0, 2.0, 2.0], np.float32)
    history = train(fn.models.LinearRegression(1).init(KEY()), data, KEY(), data).history
    np.testing.assert_array_equal(history["count"], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(history["val_count"], [np.nan, 2.0, 2.0])


def test_thresholds_can_be_swept_and_mapped() -> None:
    data = CASE.rows(12)

    def train(threshold: Any) -> Any:
        stopping = fn.EarlyStopping("loss", stopping_threshold=threshold)
        return fn.fit(CASE.loss(), OPTIMIZER, epochs=3, stopping=stopping, shuffle=False)

    model = CASE.init()
    thresholds = jnp.array([1e9, -1e9])
    epochs = lambda threshold: train(threshold)(model, data, KEY()).state.epoch  # noqa: E731
    alone = jax.jit(epochs)
    assert jax.vmap(epochs)(thresholds).tolist() == [int(alone(t)) for t in thresholds] == [1, 3]
    with pytest.raises(ValueError, match="stopping_threshold must be a number, got NaN"):
        train(jnp.float32("nan"))


def test_a_weakly_typed_parameter_is_a_float32_parameter() -> None:
    rows = np.linspace(-1, 1, 16).astype(jnp.bfloat16)

    def loss(w: Any, x: Any, key: Any) -> Any:
        return ((w * x - 1) ** 2).astype(jnp.float32)

    with jax.numpy_dtype_promotion("standard"):
        train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=4, shuffle=False)
        weak, strong = (train(w, rows, KEY()).model for w in (jnp.array(0.3), jnp.float32(0.3)))
        assert same_bits(weak, strong)
        assert same_bits(fn.Trainer(train, progress=False)(jnp.array(0.3), rows, KEY()).model, strong)

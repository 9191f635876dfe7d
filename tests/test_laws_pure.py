"""Laws 1 and 10: numbers depend on (model, data, key) and nothing else, and nothing is traced twice."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import lazy_key
from tables import same_bits

import funcnet as fn

KEY = lazy_key(3)


# Which model it is plays no part: that a function of its inputs is pure shows in the other laws.
@pytest.mark.parametrize("name", tables.marked(tables.TRAINED, slow={"conv-2d", "gru"}))
def test_same_arguments_same_bits_and_another_key_other_numbers(name: str) -> None:
    model, data, train = tables.MODELS[name].init(), tables.dataset("tail", name), tables.training(name)
    first = train(model, data, KEY())
    other = train(model, data, jax.random.key(4))
    again = train(model, data, KEY())
    assert same_bits(first, again)
    assert not same_bits(first.model, other.model)
    assert not same_bits(first.model, model)


@pytest.mark.parametrize("name", tables.MODELS)
def test_init_is_a_function_of_its_key(name: str) -> None:
    net = tables.MODELS[name].net
    a, again, b = map(jax.jit(net.init), (KEY(), jax.random.key(3), jax.random.key(4)))
    assert same_bits(a, again)
    random = name not in tables.FIXED_START and fn.count(net) > 0
    assert same_bits(a, b) != random


def test_step_and_evaluate_leave_their_arguments_alone() -> None:
    model, data = tables.MODELS["linear"].init(), tables.dataset("weighted", "linear")
    loss = tables.MODELS["linear"].loss()
    state = fn.TrainState.create(model, optax.adam(0.1), KEY())
    step = jax.jit(fn.step(loss, optax.adam(0.1)))
    before = jax.tree.map(np.array, (model, state.opt_state, data))
    batch = next(fn.data.batches(data, 8, KEY()))
    one, _ = step(state, batch)
    value = fn.evaluate(loss, model, data)
    two, _ = step(state, batch)
    assert same_bits(one, two)
    assert same_bits(value, fn.evaluate(loss, model, data))
    assert same_bits(before, (model, state.opt_state, data))


@pytest.mark.parametrize("name", tables.RANDOM)
def test_dropout_follows_the_key(name: str) -> None:
    model = tables.MODELS[name].init()
    x, _ = tables.MODELS[name].rows(20)
    call = jax.jit(model)
    assert same_bits(call(x, KEY()), call(x, KEY()))
    assert not same_bits(call(x, KEY()), call(x, jax.random.key(4)))
    assert not same_bits(call(x, KEY()), call(x))


def test_every_example_and_every_step_has_a_key_of_its_own() -> None:
    def loss(weight: jax.Array, example: jax.Array, key: Any) -> Any:
        return 0 * weight, {f"draw{i}": jax.random.uniform(key) * example[i] for i in range(6)}

    rows = np.eye(6, dtype=np.float32)
    run = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=2, shuffle=False)(np.float32(1), rows, KEY())
    draws = np.stack([run.history[f"draw{i}"] for i in range(6)])
    assert len(np.unique(draws)) == 18


class Counted(fn.Module):
    """A layer that counts how often Python runs it."""

    layer: fn.Linear = fn.Linear(3, 3)
    calls: str = "layer"

    def __call__(self, x: jax.Array, key: Any = None) -> jax.Array:
        TRACES[self.calls] = TRACES.get(self.calls, 0) + 1
        return self.layer(x)


TRACES: dict[str, int] = {}


def _counting() -> tuple[Any, dict[str, int]]:
    """A loss that counts how often Python runs it."""
    count = {"loss": 0}

    def loss(model: Any, example: Any, key: Any) -> Any:
        count["loss"] += 1
        x, y = example
        return jnp.sum((model(x) - y) ** 2), {"size": jnp.sum(x)}

    return loss, count


def _data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(11, 3)).astype(np.float32), rng.normal(size=(11, 3)).astype(np.float32)


def _linear() -> fn.Module:
    return jax.jit(fn.Linear(3, 3).init)(KEY())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"stopping": fn.EarlyStopping(patience=2)},
        {"accumulate": 2, "eval_every": 2, "ema": 0.9},
    ],
    ids=["plain", "stopping", "accumulate-eval-ema"],
)
def test_fit_traces_once(settings: dict[str, Any]) -> None:
    loss, count = _counting()
    train = fn.fit(loss, optax.adam(0.1), epochs=4, batch_size=4, shuffle=False, **settings)
    model = _linear()
    run = train(model, _data(0), KEY(), _data(1))
    traces = count["loss"]
    train(run.model, _data(2), jax.random.key(9), _data(3))
    train(model, fn.data.Dataset(_data(2)), jax.random.key(8), _data(3))
    assert count["loss"] == traces


def test_a_sweep_of_a_traced_learning_rate_compiles_once() -> None:
    loss, count = _counting()
    model, settings = _linear(), {"epochs": 2, "batch_size": 4, "shuffle": False}
    sweep = jax.jit(lambda rate: fn.fit(loss, optax.sgd(rate), **settings)(model, _data(0), KEY()).model)
    first = sweep(np.float32(0.1))
    traces = count["loss"]
    second = sweep(np.float32(0.2))
    assert count["loss"] == traces
    assert not same_bits(first, second)


def test_a_vmapped_training_traces_once() -> None:
    loss, count = _counting()
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=4, shuffle=False)
    keys = jax.random.split(KEY(), 3)
    models = jax.jit(jax.vmap(fn.Linear(3, 3).init))(keys)
    together = jax.vmap(train, in_axes=(0, None, 0))
    together(models, _data(0), keys)
    traces = count["loss"]
    together(models, _data(1), jax.random.split(jax.random.key(5), 3))
    assert count["loss"] == traces


def test_step_traces_once() -> None:
    loss, count = _counting()
    optimizer = optax.adam(0.1)
    state = fn.TrainState.create(_linear(), optimizer, KEY())
    step = jax.jit(fn.step(loss, optimizer, accumulate=2))
    for number, batch in enumerate(fn.data.batches(_data(0), 4)):
        state, _ = step(state, batch)
        traces = count["loss"] if number == 0 else traces
    assert number == 2
    assert count["loss"] == traces


@pytest.mark.parametrize(
    "per_example",
    [pytest.param(fn.losses.squared_error, marks=pytest.mark.slow), fn.losses.cross_entropy],
)
def test_evaluate_predict_and_fit_call_the_model_no_further(
    per_example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("funcnet._jit.PROGRAMS", 10**9)  # no program of an earlier test is forgotten here
    name = per_example.__name__
    model = Counted(calls=name).init(KEY())
    loss = fn.losses.supervised(per_example)
    y = np.arange(11, dtype=np.int32) % 3 if per_example is fn.losses.cross_entropy else _data(0)[1]
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=4, shuffle=False)
    calls = [
        functools.partial(fn.predict, batch_size=4),
        lambda model, x: fn.evaluate(loss, model, (x, y), batch_size=4),
        lambda model, x: train(model, (x, y), KEY(), (x, y)),
    ]
    for call in calls:
        call(model, _data(0)[0])
        traces = TRACES[name]
        call(jax.tree.map(lambda a: np.asarray(a) + 1, model), _data(1)[0])
        assert TRACES[name] == traces, call

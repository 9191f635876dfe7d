"""Settings of an optimizer are read and written by their path in its state."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn
from funcnet.train import Request
from funcnet.train._hyperparams import set_hyperparams

X = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
DATA = X, 0 * X[:, 0]  # a loss of 0 at the start, which can't improve
LOSS = fn.losses.supervised(fn.losses.squared_error)


@functools.cache
def arguments() -> Any:
    key = jax.random.key(0)
    return jax.jit(fn.models.LinearRegression(1).init)(key), DATA, key


def _sgd(rate: Any, **settings: Any) -> Any:
    return optax.inject_hyperparams(optax.sgd)(learning_rate=rate, **settings)


def _groups(weight: Any, bias: Any) -> Any:
    def labels(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: "a" if leaf.ndim else "b", tree)

    return optax.multi_transform({"a": weight, "b": bias}, labels)


def _run(optimizer: Any, *callbacks: Any, epochs: int = 3, **settings: Any) -> fn.Run:
    train = fn.fit(LOSS, optimizer, epochs=epochs, shuffle=False, **settings)
    return fn.Trainer(train, callbacks=callbacks)(*arguments())


A, B = (f"inner_states[{group!r}].inner_state.hyperparams['learning_rate']" for group in "ab")


def test_a_plateau_scales_each_setting_of_a_name_and_the_monitor_shows_each() -> None:
    plateau, monitor = fn.train.ReduceOnPlateau("loss", factor=0.5, patience=1), fn.train.Monitor()
    run = _run(_groups(_sgd(0.1), _sgd(0.01)), plateau, monitor)
    states = run.state.opt_state.inner_states
    rates = [float(states[group].inner_state.hyperparams["learning_rate"]) for group in "ab"]
    np.testing.assert_allclose(rates, [0.025, 0.0025], rtol=1e-6)
    assert set(monitor.values) == {"epoch", "gradient_norm", A, B}
    np.testing.assert_allclose(monitor.values[B], [0.01, 0.01, 0.005], rtol=1e-6)
    one = fn.train.ReduceOnPlateau("loss", factor=0.5, patience=1, name=A)
    states = _run(_groups(_sgd(0.1), _sgd(0.01)), one).state.opt_state.inner_states
    rates = [float(states[group].inner_state.hyperparams["learning_rate"]) for group in "ab"]
    np.testing.assert_allclose(rates, [0.025, 0.01], rtol=1e-6)


def test_a_request_names_the_one_it_sets() -> None:
    optimizer = _groups(_sgd(0.1), _sgd(0.01))
    with pytest.raises(ValueError, match=r"occurs 2 times.*by its path.*inner_states\['a'\].*\['b'\]"):
        _run(optimizer, lambda _: Request(hyperparams={"learning_rate": 0.5}))
    run = _run(optimizer, lambda _: Request(hyperparams={B: 0.5}))
    states = run.state.opt_state.inner_states
    assert float(states["b"].inner_state.hyperparams["learning_rate"]) == 0.5
    assert float(states["a"].inner_state.hyperparams["learning_rate"]) == np.float32(0.1)


def test_a_setting_inside_another_injected_optimizer_is_found() -> None:
    def inner(scale: Any) -> Any:
        return optax.chain(optax.scale(scale), _sgd(0.1))

    nested = optax.inject_hyperparams(inner)(scale=1.0)
    run = _run(nested, lambda _: Request(hyperparams={"learning_rate": 0.5, "scale": 2.0}), ema=0.5)
    state = run.state.opt_state.inner
    assert float(state.hyperparams["scale"]) == 2.0
    assert float(state.inner_state[1].hyperparams["learning_rate"]) == 0.5


@pytest.mark.parametrize(
    "inject", [optax.inject_hyperparams, pytest.param("stateful", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_setting_that_a_schedule_computes_can_not_be_set(inject: Any) -> None:
    inject = optax.inject_stateful_hyperparams if inject == "stateful" else inject
    optimizer = inject(optax.sgd)(learning_rate=optax.constant_schedule(0.1))
    match = r"'learning_rate' can't be set, since a schedule.*optax.scale"
    with pytest.raises(ValueError, match=match):
        _run(optimizer, fn.train.ReduceOnPlateau("loss", patience=1))
    with pytest.raises(ValueError, match=match):
        _run(optimizer, lambda _: Request(hyperparams={"learning_rate": 0.5}))
    # What the sentence advises.
    scaled = optax.chain(optimizer, optax.inject_hyperparams(optax.scale)(step_size=1.0))
    run = _run(scaled, fn.train.ReduceOnPlateau("loss", factor=0.5, patience=1, name="step_size"))
    assert float(run.state.opt_state[1].hyperparams["step_size"]) == 0.25


def test_the_lowest_rate_is_reached_and_then_nothing_is_requested() -> None:
    plateau, requests = fn.train.ReduceOnPlateau("loss", 0.1, 1, min_lr=0.001), []
    on_epoch_end = plateau.on_epoch_end

    def record(context: Any) -> Any:
        requests.append(on_epoch_end(context))
        return requests[-1]

    plateau.on_epoch_end = record  # type: ignore[method-assign]
    run = _run(_sgd(0.1), plateau, epochs=8)
    assert run.state.opt_state.hyperparams["learning_rate"] == np.float32(0.001)
    assert [request is not None for request in requests] == [False, True, True, *[False] * 5]


def test_an_integer_is_not_rounded_in_silence() -> None:
    with pytest.raises(
        ValueError, match=r"must be a float to be multiplied, got 1. Try .*learning_rate=1.0"
    ):
        _run(_sgd(1), fn.train.ReduceOnPlateau("loss", patience=1))
    with pytest.raises(ValueError, match=r"must be an integer, since it was one, got 0.5"):
        _run(_sgd(1), lambda _: Request(hyperparams={"learning_rate": 0.5}))
    state = _sgd(1.0).init(jnp.zeros(()))
    for wrong in (jnp.nan, 1e300, "fast", None):
        with pytest.raises(ValueError, match="must be a finite number"):
            set_hyperparams(state, {"learning_rate": wrong})
    with pytest.raises(ValueError, match=r"must have shape \(\), got \(2,\)"):
        set_hyperparams(state, {"learning_rate": [0.1, 0.2]})


def test_paths_survive_a_resume(tmp_path: Any) -> None:
    train = fn.fit(LOSS, _groups(_sgd(0.1), _sgd(0.01)), epochs=4, shuffle=False)

    def callbacks() -> list[Any]:
        return [fn.train.ReduceOnPlateau("loss", factor=0.5, patience=1), fn.train.Monitor()]

    whole, parts = callbacks(), callbacks()
    expected = fn.Trainer(train, callbacks=whole)(*arguments())
    fail: Any = lambda context: 1 / 0 if context.epoch == 2 else None  # noqa: E731
    trainer = fn.Trainer(train, tmp_path, [*callbacks(), fail], save_every=fn.train.Every(epochs=1))
    with pytest.raises(ZeroDivisionError):
        trainer(*arguments())
    actual = fn.Trainer(train, tmp_path, [*parts, lambda _: None])(*arguments())
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), actual.model, expected.model))
    assert parts[1].values == whole[1].values

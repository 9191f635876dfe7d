"""Losses whose settings follow a schedule."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from keys import lazy_key

import funcnet as fn

KEY = lazy_key(5)
X = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
DATA = X, np.sin(X[:, 0])
PLAIN = fn.losses.supervised(fn.losses.squared_error)
NET = fn.Linear(2, "scalar")
ANNEALED = optax.linear_schedule(0.0, 1.0, 8)
STEPS = 12


def make_loss(strength: Any) -> Any:
    return fn.losses.penalized(PLAIN, l2=strength)


def fit(loss: Any, **settings: Any) -> fn.train.Fit:
    return fn.fit(loss, optax.sgd(0.1), **{"epochs": 3, "batch_size": 16, "shuffle": False, **settings})


@functools.cache
def model() -> fn.Module:
    with jax.ensure_compile_time_eval():  # the first to ask may be a function that is traced
        return jax.jit(NET.init)(KEY())


@functools.cache
def scheduled_loss() -> Any:
    return fn.losses.scheduled(make_loss, strength=ANNEALED)


@functools.cache
def expected_run() -> fn.Run:
    return fit(scheduled_loss())(model(), DATA, KEY(), DATA)


def test_each_step_uses_the_value_of_its_schedule() -> None:
    run, step = expected_run(), jax.jit(lambda s, *args: fn.step(make_loss(s), optax.sgd(0.1))(*args))
    state, number = fn.TrainState.create(model(), optax.sgd(0.1), KEY()), 0
    for epoch in range(3):
        for batch in fn.data.batches(DATA, 16, epoch=epoch):
            state, _ = step(ANNEALED(number), state, batch)
            number += 1
    assert number == STEPS
    tables.assert_close(run.model, state.model, factor=5)
    end = fn.evaluate(make_loss(1.0), run.model, DATA)
    np.testing.assert_allclose(run.history["val_loss"][-1], end["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        fn.evaluate(scheduled_loss(), run.model, DATA)["loss"], end["loss"], rtol=1e-6
    )


WRAPPERS = {
    "jit": lambda: jax.jit(scheduled_loss()),
    "partial": lambda: functools.partial(scheduled_loss()),
    "by hand": lambda: lambda model, example, key: scheduled_loss()(model, example, key),
    "inside": lambda: fn.losses.scheduled(lambda strength: jax.jit(make_loss(strength)), strength=ANNEALED),
    "checkpoint": lambda: jax.checkpoint(scheduled_loss()),
    "players": lambda: fn.losses.players(net=lambda m, e, k: scheduled_loss()(m["net"], e, k)),
}


@pytest.mark.parametrize(
    "name", tables.marked(WRAPPERS, slow={"partial", "by hand", "inside", "checkpoint"})
)
@pytest.mark.parametrize(
    "trained_by",
    [lambda train: train, pytest.param(fn.Trainer, marks=pytest.mark.slow)],
    ids=["fit", "trainer"],
)
def test_no_wrapper_hides_the_step(name: str, trained_by: Any) -> None:
    loss, expected = WRAPPERS[name](), expected_run()
    if name == "players":
        train = fn.fit(loss, {"net": optax.sgd(0.1)}, epochs=3, batch_size=16, shuffle=False)
        run = trained_by(train)({"net": model()}, DATA, KEY(), DATA)
        tables.assert_close(run.model["net"], expected.model)
    else:
        fn.evaluate(loss, model(), DATA)  # its trace has the end value in it
        run = trained_by(fit(loss))(model(), DATA, KEY(), DATA)
        tables.assert_close(run.model, expected.model)
    np.testing.assert_allclose(run.history["val_loss"], expected.history["val_loss"], rtol=1e-5)


def test_steps_one_by_one_do_not_share_the_trace_of_a_jitted_loss() -> None:
    inner = jax.jit(
        fn.losses.scheduled(lambda b: lambda m, e, k: b + 0 * m, b=optax.linear_schedule(0, 1, 4))
    )
    step = fn.step(lambda model, example, key: inner(model, example, key), optax.sgd(0.1))
    state = fn.TrainState.create(jnp.array(0.0), optax.sgd(0.1), KEY())
    losses = []
    for _ in range(3):
        state, info = step(state, jnp.ones(2))
        losses.append(float(info.loss))
    assert losses == [0.0, 0.25, 0.5]


def test_wrapped_by_other_losses_of_ours() -> None:
    wrapped = fn.losses.penalized(scheduled_loss(), l1=0.1)
    inside = fn.losses.scheduled(lambda s: fn.losses.penalized(make_loss(s), l1=0.1), s=ANNEALED)
    tables.assert_close(fit(wrapped)(model(), DATA, KEY()).model, fit(inside)(model(), DATA, KEY()).model)


@pytest.mark.slow
def test_half_precision_of_a_scheduled_loss() -> None:
    half = fn.Precision(compute="bfloat16")
    halved = fit(half(scheduled_loss()))(model(), DATA, KEY()).model
    inside = fn.losses.scheduled(lambda strength: half(make_loss(strength)), strength=ANNEALED)
    tables.assert_close(halved, fit(inside)(model(), DATA, KEY()).model)


def test_a_batchwise_loss_can_be_scheduled() -> None:
    @fn.losses.batchwise
    def mean(model: Any, batch: Any, weight: Any, key: Any) -> Any:
        x, y = batch
        return jnp.sum(weight * (jax.vmap(model)(x) - y) ** 2) / jnp.sum(weight)

    loss = fn.losses.scheduled(lambda s: fn.losses.penalized(mean, l2=s), s=ANNEALED)
    tables.assert_close(fit(loss)(model(), DATA, KEY()).model, expected_run().model, factor=5)


def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Any) -> None:
    train, expected = fit(scheduled_loss()), expected_run()
    every = fn.train.Every(steps=5)
    for _ in range(4):
        trainer = fn.Trainer(train, tmp_path, max_time=1e-9, sync_every=every, save_every=every)
        run = trainer(model(), DATA, KEY(), DATA)
    assert tables.same_bits((run.model, dict(run.history)), (expected.model, dict(expected.history)))
    other = fit(fn.losses.scheduled(make_loss, strength=optax.linear_schedule(0.0, 1.0, 9)))
    with pytest.raises(ValueError, match="program of a step"):
        fn.Trainer(other, tmp_path)(model(), DATA, KEY(), DATA)


def test_a_schedule_may_be_traced_and_differentiated() -> None:
    def final(strength: Any) -> Any:
        loss = fn.losses.scheduled(make_loss, strength=optax.linear_schedule(0.0, strength, 8))
        return fit(loss)(model(), DATA, KEY(), DATA).history["val_data_loss"][-1]

    once = jax.jit(chex.assert_max_traces(lambda strength: final(strength), n=1))
    slope = (once(0.55) - once(0.45)) / 0.1
    np.testing.assert_allclose(jax.jit(jax.grad(final))(0.5), slope, rtol=2e-2)


def test_a_line_search_sees_the_value_of_its_step() -> None:
    optimizer = optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
    )
    constant = fn.losses.scheduled(make_loss, strength=optax.constant_schedule(0.3))
    step = fn.losses.scheduled(
        make_loss, strength=lambda n: jnp.where(n < 100, 0.3, 77.0), end_values={"strength": 77.0}
    )
    runs = [
        fn.fit(loss, optimizer, epochs=2, batch_size=16, shuffle=False)(model(), DATA, KEY())
        for loss in (constant, step)
    ]
    tables.assert_close(runs[0].model, runs[1].model)


def test_schedules_that_never_end_need_an_end_value() -> None:
    cyclic = lambda step: 0.5 + 0.5 * jnp.cos(step / 7)  # noqa: E731
    for endless in (cyclic, lambda step: ((step // 1000) % 2).astype(float)):
        with pytest.raises(ValueError, match="must end, since evaluation takes its end value"):
            fn.losses.scheduled(make_loss, strength=endless)
    ramp = fn.losses.scheduled(
        make_loss, strength=lambda step: jnp.minimum((step + 1).astype(float) / 100, 1.0)
    )
    expected = fn.evaluate(make_loss(1.0), model(), DATA)["loss"]
    np.testing.assert_allclose(fn.evaluate(ramp, model(), DATA)["loss"], expected, rtol=1e-6)
    loss = fn.losses.scheduled(make_loss, strength=cyclic, end_values={"strength": 0.25})
    expected = fn.evaluate(make_loss(0.25), model(), DATA)["loss"]
    np.testing.assert_allclose(fn.evaluate(loss, model(), DATA)["loss"], expected, rtol=1e-6)


WRONG: dict[str, tuple[Any, str]] = {
    "number": (
        lambda: fn.losses.scheduled(make_loss, strength=1.0),
        "must be a function of the step",
    ),
    "other name": (
        lambda: fn.losses.scheduled(make_loss, beta=ANNEALED),
        r"a function \(beta\) -> loss",
    ),
    "no schedule": (
        lambda: fn.losses.scheduled(lambda: PLAIN),
        "a schedule for each setting, got none",
    ),
    "vector": (
        lambda: fn.losses.scheduled(make_loss, strength=lambda step: jnp.ones(2)),
        "the value of strength must be one number, got",
    ),
    "infinite": (
        lambda: fn.losses.scheduled(make_loss, strength=lambda step: jnp.inf),
        "the end value of strength must be finite",
    ),
    "if": (
        lambda: fn.losses.scheduled(make_loss, strength=lambda step: 0.0 if step < 3 else 1.0),
        "the schedule of strength must be written with jax.numpy",
    ),
    "if in the loss": (
        lambda: fn.losses.scheduled(lambda s: PLAIN if s > 0 else scheduled_loss(), s=ANNEALED),
        "make_loss must be written with jax.numpy",
    ),
    "of players": (
        lambda: fn.losses.scheduled(lambda s: fn.losses.players(a=PLAIN), s=ANNEALED),
        "scheduled expects one loss, got those of several players",
    ),
    "end values": (
        lambda: fn.losses.scheduled(make_loss, strength=ANNEALED, end_values=1.0),
        "end_values must be a dictionary by name, got float",
    ),
    "no loss": (lambda: fn.losses.scheduled(lambda s: 3, s=ANNEALED), "loss must be a function"),
    "unknown end": (
        lambda: fn.losses.scheduled(make_loss, strength=ANNEALED, end_values={"beta": 1.0}),
        r"end_values must name schedules \(strength\), got 'beta'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_schedules_are_refused_by_a_sentence(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()

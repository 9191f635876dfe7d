"""A custom step in `fit`, and an optimizer as a function of the number of steps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

import funcnet as fn

KEY = jax.random.key(5)
NET = fn.Sequential(fn.Linear(2, 4), fn.layers.BatchNorm(4), jnp.tanh, fn.Linear(4, "scalar"))
X = jax.random.normal(jax.random.key(1), (50, 2))
DATA = X, jnp.sin(X[:, 0])
LOSS = fn.losses.supervised(fn.losses.squared_error)
ADAM = optax.adam(1e-2)
PLAIN = fn.MLP((2, 4, "scalar")).init(KEY)


def by_hand(state: fn.TrainState, batch: fn.data.Batch) -> tuple[fn.TrainState, dict[str, Any]]:
    """The step of a loss without randomness."""

    def mean(model: Any) -> Any:
        values = jax.vmap(lambda example: LOSS(model, example, None)[0])(batch.example)
        return jnp.sum(values * batch.weight) / batch.total_weight

    value, gradients = jax.value_and_grad(mean)(state.model)
    return state.apply_gradients(gradients, ADAM), {"loss": value, "norm": optax.tree.norm(gradients)}


def fit(step: Any = by_hand, **settings: Any) -> fn.train.Fit:
    return fn.fit(LOSS, ADAM, step=step, **{"epochs": 3, "batch_size": 16, **settings})


def test_a_step_written_by_hand_trains_as_the_loss_does() -> None:
    expected = fn.fit(LOSS, ADAM, epochs=3, batch_size=16)(PLAIN, DATA, KEY, DATA)
    run = fit()(PLAIN, DATA, KEY, DATA)
    tables.assert_close(run.model, expected.model)
    for name in ("loss", "val_loss", "train_loss"):
        np.testing.assert_allclose(run.history[name], expected.history[name], rtol=2e-5)
    assert run.history["norm"].shape == (3,)
    assert int(run.state.step) == 12


def test_fns_own_step_is_a_step_with_its_buffers() -> None:
    model = NET.init(KEY)
    expected = fn.fit(LOSS, ADAM, epochs=3, batch_size=16)(model, DATA, KEY, DATA)
    run = fit(fn.step(LOSS, ADAM))(model, DATA, KEY, DATA)
    tables.assert_close(run.model, expected.model)
    np.testing.assert_allclose(run.history["loss"], expected.history["loss"], rtol=2e-5)


@pytest.mark.slow
def test_a_trainer_a_resumed_one_and_a_vmap_take_the_same_steps(tmp_path: Any) -> None:
    expected = fit()(PLAIN, DATA, KEY, DATA)
    every = fn.train.Every(steps=5)
    for _ in range(4):
        trainer = fn.Trainer(fit(), tmp_path, max_time=1e-9, sync_every=every, save_every=every)
        run = trainer(PLAIN, DATA, KEY, DATA)
    assert tables.same_bits((run.model, dict(run.history)), (expected.model, dict(expected.history)))
    keys = jax.random.split(KEY, 2)
    runs = jax.vmap(fit(), in_axes=(None, None, 0))(PLAIN, DATA, keys)
    alone = fit()(PLAIN, DATA, keys[1]).model
    tables.assert_close(jax.tree.map(lambda a: a[1], runs.model), alone, factor=5)


def test_another_step_is_another_run(tmp_path: Any) -> None:
    fn.Trainer(fit(), tmp_path)(PLAIN, DATA, KEY)

    def other(state: Any, batch: Any) -> Any:
        state, values = by_hand(state, batch)
        return dataclasses.replace(state, model=jax.tree.map(lambda a: a * 0.999, state.model)), values

    with pytest.raises(ValueError, match="program of a step"):
        fn.Trainer(fit(other), tmp_path)(PLAIN, DATA, KEY)


def broken(state: Any, batch: Any) -> Any:
    bad = jnp.where(state.step == 6, jnp.nan, 1.0)
    return dataclasses.replace(state, model=jax.tree.map(lambda a: a * bad, state.model)), {"loss": 1.0}


def test_early_stopping_and_non_finite_steps() -> None:
    stopping = fn.EarlyStopping(patience=2)

    def rising(state: Any, batch: Any) -> Any:
        return dataclasses.replace(state, model=jax.tree.map(lambda a: a * 1.5, state.model)), {"loss": 1.0}

    run = fit(rising, epochs=50, stopping=stopping)(PLAIN, DATA, KEY, DATA)
    assert run.outcome is fn.Outcome.PATIENCE_EXHAUSTED

    run = fit(broken)(PLAIN, DATA, KEY)
    assert run.outcome is fn.Outcome.NOT_FINITE
    assert int(run.state.step) == 6
    assert tables.same_bits(run.model, PLAIN)
    run = fit(broken, on_nan="skip")(PLAIN, DATA, KEY)
    assert run.outcome is fn.Outcome.FINISHED
    assert tables.same_bits(run.model, PLAIN)


@pytest.mark.slow
def test_a_non_finite_step_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"step 6 \(epoch 1\): the new layers\[0\].weight is not"):
        fit(broken, on_nan="raise")(PLAIN, DATA, KEY)


def test_rows_of_weight_zero_make_no_step() -> None:
    """A batch of weights 0 leaves the state, though a custom step divides by them."""
    weight = jnp.concatenate([jnp.zeros(16), jnp.ones(34)])
    run = fit(epochs=1, shuffle=False)(PLAIN, fn.data.Dataset(DATA, weight=weight), KEY)
    rest = fit(epochs=1, shuffle=False)(PLAIN, jax.tree.map(lambda a: a[16:], DATA), KEY)
    tables.assert_close(run.model, rest.model)
    np.testing.assert_allclose(run.history["loss"], rest.history["loss"], rtol=1e-5)


@pytest.mark.slow
def test_a_target_network_follows_the_one_that_trains() -> None:
    """BYOL (Grill et al., 2020): two views, BatchNorm, and a frozen target, an average of the other."""
    net = fn.Sequential(fn.Linear(2, 8), fn.layers.BatchNorm(8), jax.nn.relu, fn.Linear(8, 4))

    @fn.losses.batchwise
    def loss(model: Any, batch: Any, weight: Any, key: Any) -> Any:
        x, _ = batch
        ahead = model["predict"](model["online"](x + 0.1, key))
        behind = model["target"](x - 0.1, key)
        return jnp.sum(weight * jnp.sum((ahead - behind) ** 2, axis=-1)) / jnp.sum(weight)

    take_step = fn.step(loss, ADAM)

    def step(state: Any, batch: Any) -> Any:
        state, info = take_step(state, batch)
        online, target = state.model["online"], fn.unfreeze(state.model["target"])
        target = fn.freeze(optax.incremental_update(online, target, 0.1))
        return dataclasses.replace(state, model=state.model | {"target": target}), info

    model = {
        "online": net.init(KEY),
        "target": fn.freeze(net.init(KEY)),
        "predict": fn.Linear(4, 4).init(KEY),
    }
    run = fn.fit(loss, ADAM, step=step, epochs=2, batch_size=16)(model, DATA, KEY)
    state = fn.TrainState.create(model, ADAM, KEY)
    expected, jitted = model["target"][0].weight, jax.jit(step)
    for epoch in range(2):
        for batch in fn.data.batches(DATA, 16, KEY, epoch):
            state, _ = jitted(state, batch)
            expected = expected + 0.1 * (state.model["online"][0].weight - expected)
    tables.assert_close(run.model, state.model, factor=20)
    np.testing.assert_allclose(run.model["target"][0].weight, expected, rtol=1e-4, atol=1e-6)
    assert run.state.opt_state[0].mu["target"] is not None
    assert not jax.tree.leaves(run.state.opt_state[0].mu["target"])


@pytest.mark.slow
def test_replace_gives_a_training_function_another_step() -> None:
    plain = fn.fit(LOSS, optax.sgd(0.0), epochs=3, batch_size=16)
    replaced = dataclasses.replace(plain, optimizer=ADAM, step=by_hand)
    tables.assert_close(replaced(PLAIN, DATA, KEY).model, fit()(PLAIN, DATA, KEY).model)


WRONG: dict[str, tuple[Any, str]] = {
    "no function": (lambda: fit(3), r"step must be a function \(state, batch\) -> "),
    "ignores accumulate": (lambda: fit(accumulate=2), "accumulate would be ignored by a custom step"),
    "ignores ema": (lambda: fit(ema=0.9), "ema would be ignored by a custom step"),
    "returns a state": (lambda: fit(lambda s, b: s)(PLAIN, DATA, KEY), "got TrainState"),
    "returns no loss": (lambda: fit(lambda s, b: (s, {"l": 1.0}))(PLAIN, DATA, KEY), "Return the loss"),
    "loses its optimizer": (
        lambda: fit(lambda s, b: (dataclasses.replace(s, opt_state=()), {"loss": 1.0}))(PLAIN, DATA, KEY),
        "must keep the structure, shapes and dtypes of the state's opt_state, got nothing in place of",
    ),
    "calls BatchNorm": (
        lambda: fit(lambda s, b: (s, {"loss": s.model(b.example[0], KEY).sum()}))(NET.init(KEY), DATA, KEY),
        "step must leave layers with running statistics, such as BatchNorm, to fn.step",
    ),
    "returns Python's number": (
        lambda: fit(lambda s, b: (s, {"loss": float(b.weight.sum())}))(PLAIN, DATA, KEY),
        "step must be written with jax.numpy, since it is traced: an array was used as a Python number",
    ),
    "gradients of other shapes": (
        lambda: fn.TrainState.create(PLAIN, ADAM, KEY).apply_gradients(
            jax.tree.map(lambda a: jnp.ones(()), PLAIN), ADAM
        ),
        r"the shapes and dtypes of the parameters, got float32\[\] for layers\[0\].weight",
    ),
    "another optimizer": (
        lambda: fn.TrainState.create(PLAIN, ADAM, KEY).apply_gradients(PLAIN, optax.sgd(0.1)),
        "opt_state must be the state of this optimizer for the model's parameters",
    ),
    "gradients of another tree": (
        lambda: fn.TrainState.create(PLAIN, ADAM, KEY).apply_gradients((), ADAM),
        "gradients must be a tree like the model",
    ),
    "optimizer without its call": (
        lambda: fn.fit(LOSS, optax.adam, epochs=1),
        "a function of learning_rate, b1, .* Try optax.adam",
    ),
    "function of another name": (
        lambda: fn.fit(LOSS, lambda lr: optax.sgd(lr), epochs=1),
        "or a function of `steps` that returns one, got .*, a function of lr",
    ),
    "function of steps in a step": (
        lambda: fn.step(LOSS, lambda steps: ADAM),
        "must not be a function of the number of steps, which a step does not know",
    ),
    "function that returns none": (
        lambda: fn.fit(LOSS, lambda steps: None, epochs=1)(PLAIN, DATA, KEY),
        "optimizer must be an optax GradientTransformation, got None",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_steps_are_refused_by_a_sentence(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_an_optimizer_of_the_number_of_steps() -> None:
    counts: list[int] = []

    def decayed(steps: int) -> Any:
        counts.append(steps)
        return optax.adam(optax.cosine_decay_schedule(1e-2, steps))

    train = fn.fit(LOSS, decayed, epochs=3, batch_size=16, ema=0.5)
    run = train(PLAIN, DATA, KEY)
    expected = fn.fit(LOSS, decayed(12), epochs=3, batch_size=16, ema=0.5)(PLAIN, DATA, KEY)
    assert tables.same_bits(run.model, expected.model)
    train(PLAIN, DATA, KEY)
    assert counts == [12, 12]  # once by `fit`, once above
    half = fn.Trainer(train, limit_batches=2)(PLAIN, DATA, KEY)
    assert counts[-1] == 6
    assert int(half.state.step) == 6


@pytest.mark.slow
def test_every_way_to_train_counts_its_steps(tmp_path: Any) -> None:
    train = fn.fit(
        LOSS,
        lambda steps: optax.adam(optax.cosine_decay_schedule(1e-2, steps)),
        epochs=3,
        batch_size=16,
        ema=0.5,
    )
    expected = train(PLAIN, DATA, KEY)
    assert tables.same_bits(fn.Trainer(train, tmp_path)(PLAIN, DATA, KEY).model, expected.model)
    np.save(tmp_path / "x.npy", DATA[0])
    np.save(tmp_path / "y.npy", DATA[1])
    stream = fn.data.Stream.npy((tmp_path / "x.npy", tmp_path / "y.npy"))
    tables.assert_close(fn.Trainer(train)(PLAIN, stream, KEY).model, expected.model)
    ensemble = fn.study.ensemble(train, 2)(fn.MLP((2, 4, "scalar")), DATA, KEY)
    assert bool(jnp.isfinite(ensemble.runs.history["loss"]).all())

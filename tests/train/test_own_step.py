"""A custom step in `fit`, and an optimizer as a function of the number of steps."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

import funcnet as fn

NET = fn.Sequential(fn.Linear(2, 4), fn.layers.BatchNorm(4), jnp.tanh, fn.Linear(4, "scalar"))
X = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
DATA = X, np.sin(X[:, 0])
LOSS = fn.losses.supervised(fn.losses.squared_error)
ADAM = optax.adam(1e-2)


def the_key() -> jax.Array:
    return jax.random.key(5)


PLAIN = fn.MLP((2, 4, "scalar"))


@functools.cache
def initial(net: fn.Module = PLAIN) -> Any:
    return jax.jit(net.init)(the_key())


def by_hand(state: fn.TrainState, batch: fn.data.Batch) -> tuple[fn.TrainState, dict[str, Any]]:
    """The step of a loss without randomness."""

    def mean(model: Any) -> Any:
        values = jax.vmap(lambda example: LOSS(model, example, None)[0])(batch.example)
        return jnp.sum(values * batch.weight) / batch.total_weight

    value, gradients = jax.value_and_grad(mean)(state.model)
    return state.apply_gradients(gradients, ADAM), {"loss": value, "norm": optax.tree.norm(gradients)}


@functools.cache
def fit(step: Any = by_hand, **settings: Any) -> fn.train.Fit:
    return fn.fit(LOSS, ADAM, step=step, **{"epochs": 3, "batch_size": 16, "shuffle": False, **settings})


def test_a_step_written_by_hand_trains_as_the_loss_does() -> None:
    expected = fn.fit(LOSS, ADAM, epochs=3, batch_size=16, shuffle=False)(initial(), DATA, the_key(), DATA)
    run = fit()(initial(), DATA, the_key(), DATA)
    tables.assert_close(run.model, expected.model)
    for name in ("loss", "val_loss", "train_loss"):
        np.testing.assert_allclose(run.history[name], expected.history[name], rtol=2e-5)
    assert run.history["norm"].shape == (3,)
    assert int(run.state.step) == 12


def test_fns_own_step_is_a_step_with_its_buffers() -> None:
    model = initial(NET)
    expected = fn.fit(LOSS, ADAM, epochs=3, batch_size=16, shuffle=False)(model, DATA, the_key(), DATA)
    run = fit(fn.step(LOSS, ADAM))(model, DATA, the_key(), DATA)
    tables.assert_close(run.model, expected.model)
    np.testing.assert_allclose(run.history["loss"], expected.history["loss"], rtol=2e-5)


@pytest.mark.slow
def test_a_trainer_a_resumed_one_and_a_vmap_take_the_same_steps(tmp_path: Any) -> None:
    expected = fit()(initial(), DATA, the_key(), DATA)
    every = fn.train.Every(steps=5)
    for _ in range(4):
        trainer = fn.Trainer(fit(), tmp_path, max_time=1e-9, sync_every=every, save_every=every)
        run = trainer(initial(), DATA, the_key(), DATA)
    assert tables.same_bits((run.model, dict(run.history)), (expected.model, dict(expected.history)))
    keys = jax.random.split(the_key(), 2)
    runs = jax.vmap(fit(), in_axes=(None, None, 0))(initial(), DATA, keys)
    alone = fit()(initial(), DATA, keys[1]).model
    tables.assert_close(jax.tree.map(lambda a: a[1], runs.model), alone, factor=5)


def test_another_step_is_another_run(tmp_path: Any) -> None:
    fn.Trainer(fit(), tmp_path)(initial(), DATA, the_key())

    def other(state: Any, batch: Any) -> Any:
        state, values = by_hand(state, batch)
        return dataclasses.replace(state, model=jax.tree.map(lambda a: a * 0.999, state.model)), values

    with pytest.raises(ValueError, match="program of a step"):
        fn.Trainer(fit(other), tmp_path)(initial(), DATA, the_key())


def broken(state: Any, batch: Any) -> Any:
    bad = jnp.where(state.step == 6, jnp.nan, 1.0)
    return dataclasses.replace(state, model=jax.tree.map(lambda a: a * bad, state.model)), {"loss": 1.0}


def test_early_stopping_and_non_finite_steps() -> None:
    stopping = fn.EarlyStopping(patience=2)

    def rising(state: Any, batch: Any) -> Any:
        return dataclasses.replace(state, model=jax.tree.map(lambda a: a * 1.5, state.model)), {"loss": 1.0}

    run = fit(rising, epochs=50, stopping=stopping)(initial(), DATA, the_key(), DATA)
    assert run.outcome is fn.Outcome.PATIENCE_EXHAUSTED

    run = fit(broken)(initial(), DATA, the_key())
    assert run.outcome is fn.Outcome.NOT_FINITE
    assert int(run.state.step) == 6
    assert tables.same_bits(run.model, initial())
    run = fit(broken, on_nan="skip")(initial(), DATA, the_key())
    assert run.outcome is fn.Outcome.FINISHED
    assert tables.same_bits(run.model, initial())


@pytest.mark.slow
def test_a_non_finite_step_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"step 6 \(epoch 1\): the new layers\[0\].weight is not"):
        fit(broken, on_nan="raise")(initial(), DATA, the_key())


def test_rows_of_weight_zero_make_no_step() -> None:
    """A batch of weights 0 leaves the state, though a custom step divides by them."""
    weight = np.float32(np.arange(50) >= 16)
    run = fit(epochs=1, shuffle=False)(initial(), fn.data.Dataset(DATA, weight=weight), the_key())
    rest = fit(epochs=1, shuffle=False)(initial(), jax.tree.map(lambda a: a[16:], DATA), the_key())
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
        "online": initial(net),
        "target": fn.freeze(initial(net)),
        "predict": fn.Linear(4, 4).init(the_key()),
    }
    run = fn.fit(loss, ADAM, step=step, epochs=2, batch_size=16, shuffle=False)(model, DATA, the_key())
    state = fn.TrainState.create(model, ADAM, the_key())
    expected, jitted = model["target"][0].weight, jax.jit(step)
    for epoch in range(2):
        for batch in fn.data.batches(DATA, 16, None, epoch):
            state, _ = jitted(state, batch)
            expected = expected + 0.1 * (state.model["online"][0].weight - expected)
    tables.assert_close(run.model, state.model, factor=20)
    np.testing.assert_allclose(run.model["target"][0].weight, expected, rtol=1e-4, atol=1e-6)
    assert run.state.opt_state[0].mu["target"] is not None
    assert not jax.tree.leaves(run.state.opt_state[0].mu["target"])


@pytest.mark.slow
def test_replace_gives_a_training_function_another_step() -> None:
    plain = fn.fit(LOSS, optax.sgd(0.0), epochs=3, batch_size=16, shuffle=False)
    replaced = dataclasses.replace(plain, optimizer=ADAM, step=by_hand)
    tables.assert_close(replaced(initial(), DATA, the_key()).model, fit()(initial(), DATA, the_key()).model)


def trained(step: Any, net: fn.Module = PLAIN) -> fn.Run:
    return fit(step)(initial(net), DATA, the_key())


WRONG: dict[str, tuple[Any, str]] = {
    "no function": (lambda: fit(3), r"step must be a function \(state, batch\) -> "),
    "ignores accumulate": (lambda: fit(accumulate=2), "accumulate would be ignored by a custom step"),
    "ignores ema": (lambda: fit(ema=0.9), "ema would be ignored by a custom step"),
    "returns a state": (lambda: fit(lambda s, b: s)(initial(), DATA, the_key()), "got TrainState"),
    "returns no loss": (
        lambda: fit(lambda s, b: (s, {"l": 1.0}))(initial(), DATA, the_key()),
        "Return the loss",
    ),
    "loses its optimizer": (
        lambda: fit(lambda s, b: (dataclasses.replace(s, opt_state=()), {"loss": 1.0}))(
            initial(), DATA, the_key()
        ),
        "must keep the structure, shapes and dtypes of the state's opt_state, got nothing in place of",
    ),
    "calls BatchNorm": (
        lambda: fit(lambda s, b: (s, {"loss": s.model(b.example[0], the_key()).sum()}))(
            initial(NET), DATA, the_key()
        ),
        "step must leave layers with running statistics, such as BatchNorm, to fn.step",
    ),
    "returns Python's number": (
        lambda: trained(lambda s, b: (s, {"loss": float(b.weight.sum())})),
        "step must be written with jax.numpy, since it is traced: an array was used as a Python number",
    ),
    "gradients of other shapes": (
        lambda: fn.TrainState.create(initial(), ADAM, the_key()).apply_gradients(
            jax.tree.map(lambda a: jnp.ones(()), initial()), ADAM
        ),
        r"the shapes and dtypes of the parameters, got float32\[\] for layers\[0\].weight",
    ),
    "another optimizer": (
        lambda: fn.TrainState.create(initial(), ADAM, the_key()).apply_gradients(initial(), optax.sgd(0.1)),
        "opt_state must be the state of this optimizer for the model's parameters",
    ),
    "gradients of another tree": (
        lambda: fn.TrainState.create(initial(), ADAM, the_key()).apply_gradients((), ADAM),
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
        lambda: fn.fit(LOSS, lambda steps: None, epochs=1)(initial(), DATA, the_key()),
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

    train = fn.fit(LOSS, decayed, epochs=3, batch_size=16, shuffle=False, ema=0.5)
    run = train(initial(), DATA, the_key())
    expected = fn.fit(LOSS, decayed(12), epochs=3, batch_size=16, shuffle=False, ema=0.5)(
        initial(), DATA, the_key()
    )
    assert tables.same_bits(run.model, expected.model)
    train(initial(), DATA, the_key())
    assert counts == [12, 12]  # once by `fit`, once above
    half = fn.Trainer(train, limit_batches=2)(initial(), DATA, the_key())
    assert counts[-1] == 6
    assert int(half.state.step) == 6


@pytest.mark.slow
def test_every_way_to_train_counts_its_steps(tmp_path: Any) -> None:
    train = fn.fit(
        LOSS,
        lambda steps: optax.adam(optax.cosine_decay_schedule(1e-2, steps)),
        epochs=3,
        batch_size=16,
        shuffle=False,
        ema=0.5,
    )
    expected = train(initial(), DATA, the_key())
    assert tables.same_bits(fn.Trainer(train, tmp_path)(initial(), DATA, the_key()).model, expected.model)
    np.save(tmp_path / "x.npy", DATA[0])
    np.save(tmp_path / "y.npy", DATA[1])
    stream = fn.data.Stream.npy((tmp_path / "x.npy", tmp_path / "y.npy"))
    tables.assert_close(fn.Trainer(train)(initial(), stream, the_key()).model, expected.model)
    ensemble = fn.study.ensemble(train, 2)(fn.MLP((2, 4, "scalar")), DATA, the_key())
    assert bool(jnp.isfinite(ensemble.runs.history["loss"]).all())

"""Losses of several players: each trains its own part of the model, with an optimizer of its own."""

import functools
import tempfile
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

import funcnet as fn

ROWS = 50
DATA = (
    1 + np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32),
    np.random.default_rng(2).normal(size=(ROWS, 3)).astype(np.float32),
)
"""Real points, and the noise from which the generator makes points."""


def the_key() -> jax.Array:
    return jax.random.key(7)


@functools.cache
def model() -> dict[str, Any]:
    nets = {"disc": (2, 4, "scalar"), "gen": (3, 4, 2)}
    with jax.ensure_compile_time_eval():  # also where it is called first inside jit
        keys = dict(zip(nets, jax.random.split(jax.random.key(3)), strict=True))
        return {n: jax.jit(fn.MLP(nets[n], activation=jnp.tanh).init)(key) for n, key in keys.items()}


def disc_loss(model: Any, example: Any, key: Any) -> Any:
    del key
    real, noise = example
    fake = model["gen"](noise)
    loss = fn.losses.binary_cross_entropy
    value = loss(model["disc"](real), jnp.ones(())) + loss(model["disc"](fake), jnp.zeros(()))
    return value, {"margin": model["disc"](real) - model["disc"](fake)}


def gen_loss(model: Any, example: Any, key: Any) -> Any:
    del key
    return fn.losses.binary_cross_entropy(model["disc"](model["gen"](example[1])), jnp.ones(()))


def optimizers() -> dict[str, Any]:
    return {"disc": optax.sgd(0.3, momentum=0.9), "gen": optax.adam(1e-2)}


def fit(optimizer: Any = None, epochs: int = 3, **settings: Any) -> fn.train.Fit:
    game = fn.losses.players(disc=disc_loss, gen=gen_loss, **settings)
    return fn.fit(
        game, optimizers() if optimizer is None else optimizer, epochs=epochs, batch_size=16, shuffle=False
    )


def torch_model(torch: Any) -> dict[str, Any]:
    def copied(net: Any) -> Any:
        layers: list[Any] = []
        for layer in net.layers:
            linear = torch.nn.Linear(layer.in_features, layer.bias.size)
            weight = np.array(layer.weight).reshape(layer.in_features, -1).T
            linear.weight = torch.nn.Parameter(torch.tensor(weight.copy()))
            linear.bias = torch.nn.Parameter(torch.tensor(np.array(layer.bias).reshape(-1)))
            layers += [linear, torch.nn.Tanh()]
        return torch.nn.Sequential(*layers[:-1])

    return {name: copied(net) for name, net in model().items()}


def torch_run(torch: Any, order: str, updates: int, epochs: int = 3) -> dict[str, Any]:
    """The loop of PyTorch's GAN tutorial on the same batches."""
    nets = torch_model(torch)
    disc, gen = nets["disc"], nets["gen"]
    optimizer = {
        "disc": torch.optim.SGD(disc.parameters(), 0.3, momentum=0.9),
        "gen": torch.optim.Adam(gen.parameters(), 1e-2),
    }
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    for epoch in range(epochs):
        for batch in fn.data.batches(DATA, 16, None, epoch):
            rows = np.asarray(batch.weight) > 0
            real, noise = (torch.tensor(np.asarray(a)[rows]) for a in batch.example)
            one = torch.ones(len(real), 1)
            if order == "together":
                fake = gen(noise)
                of_gen = bce(disc(fake), one)
                gen_grads = torch.autograd.grad(of_gen, list(gen.parameters()))
            for _ in range(updates):
                fake = gen(noise)
                of_disc = bce(disc(real), one) + bce(disc(fake.detach()), 0 * one)
                optimizer["disc"].zero_grad()
                of_disc.backward()
                optimizer["disc"].step()
            optimizer["gen"].zero_grad()
            if order == "together":
                for parameter, grad in zip(gen.parameters(), gen_grads, strict=True):
                    parameter.grad = grad
            else:
                bce(disc(gen(noise)), one).backward()
            optimizer["gen"].step()
    return nets


@pytest.mark.parametrize(
    ("order", "updates"),
    [("alternating", 1), pytest.param("alternating", 3, marks=pytest.mark.slow), ("together", 1)],
)
def test_a_gan_trains_as_the_loop_of_pytorch(order: Any, updates: int) -> None:
    torch = pytest.importorskip("torch")
    run = fit(order=order, updates={"disc": updates})(model(), DATA, the_key())
    expected = torch_run(torch, order, updates)
    for name, net in run.model.items():
        linears = [layer for layer in expected[name] if isinstance(layer, torch.nn.Linear)]
        for layer, linear in zip(net.layers, linears, strict=True):
            weight = linear.weight.detach().numpy().T.reshape(layer.weight.shape)
            np.testing.assert_allclose(layer.weight, weight, rtol=2e-4, atol=2e-5)
            bias = linear.bias.detach().numpy().reshape(layer.bias.shape)
            np.testing.assert_allclose(layer.bias, bias, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", tables.marked(tables.OPTIMIZERS, slow=set(tables.OPTIMIZERS) - {"adam"}))
def test_one_player_is_fit(name: str) -> None:
    net = fn.MLP((2, 4, "scalar"))
    start, data = jax.jit(net.init)(the_key()), (DATA[0], DATA[0].sum(axis=1))
    loss = fn.losses.supervised(fn.losses.squared_error)
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 16,
        "shuffle": False,
        "ema": 0.9 if name == "adam" else None,
    }
    alone = fn.fit(loss, tables.OPTIMIZERS[name], **settings)(start, data, the_key(), data)
    game = fn.losses.players(net=lambda model, example, key: loss(model["net"], example, key))
    run = fn.fit(game, {"net": tables.OPTIMIZERS[name]}, **settings)({"net": start}, data, the_key(), data)
    tables.assert_close(run.model["net"], alone.model)
    for metric in ("loss", "val_loss", "train_loss"):
        np.testing.assert_allclose(run.history[metric], alone.history[metric], rtol=2e-5)
    np.testing.assert_array_equal(run.history["net_loss"], run.history["loss"])


def test_buffers_are_updated_by_each_player_in_turn() -> None:
    """Both players call the same BatchNorm: its statistics move twice in each step."""
    norm = fn.layers.BatchNorm(2, momentum=0.5)

    def normed(model: Any, example: Any, key: Any) -> Any:
        return jnp.sum((model["a"](example, key) - model["b"]) ** 2)

    game = fn.losses.players(a=normed, b=normed)
    start = {"a": norm.init(the_key()), "b": jnp.ones(2)}
    train = fn.fit(
        game, {"a": optax.sgd(0.1), "b": optax.sgd(0.1)}, epochs=1, batch_size=ROWS, shuffle=False
    )
    run = train(start, DATA[0], the_key())
    mean = np.asarray(DATA[0]).mean(axis=0)
    np.testing.assert_allclose(run.model["a"].mean.value, mean * 0.75, rtol=1e-4)


def test_padding_changes_nothing() -> None:
    padded = tuple(np.concatenate([a, np.full((14, *a.shape[1:]), 9e9, np.float32)]) for a in DATA)
    weighted = fn.data.Dataset(padded, weight=np.float32(np.arange(64) < ROWS))
    both = dict.fromkeys(optimizers(), optax.sgd(0.3))
    whole = fn.fit(fit().loss, both, epochs=2, batch_size=64, shuffle=False)
    tables.assert_close(
        whole(model(), weighted, the_key()).model, whole(model(), DATA, the_key()).model, factor=20
    )


@pytest.mark.slow
def test_accumulation_trainer_and_vmap_change_nothing() -> None:
    train = fit(updates={"disc": 2})
    expected = train(model(), DATA, the_key(), DATA)
    parts = fn.fit(train.loss, optimizers(), epochs=3, batch_size=8, shuffle=False, accumulate=2)(
        model(), DATA, the_key(), DATA
    )
    tables.assert_close(parts.model, expected.model, factor=20)
    with tempfile.TemporaryDirectory() as folder:
        stopped = fn.Trainer(train, folder, [StopAfterFirstEpoch()])(model(), DATA, the_key(), DATA)
        assert int(stopped.state.step) == 4
    keys = jax.random.split(the_key(), 2)
    runs = jax.vmap(train, in_axes=(None, None, 0))(model(), DATA, keys)
    alone = train(model(), DATA, keys[1])
    tables.assert_close(jax.tree.map(lambda a: a[1], runs.model), alone.model, factor=20)


class StopAfterFirstEpoch(fn.train.Callback):
    def on_epoch_end(self, context: fn.train.CallbackContext) -> fn.train.Request:
        return fn.train.Request(stop=True)


@pytest.mark.slow
def test_a_resumed_game_has_the_bits_of_an_uninterrupted_one(tmp_path: Any) -> None:
    train = fit(updates={"disc": 2})
    expected = train(model(), DATA, the_key(), DATA)
    every = fn.train.Every(steps=5)
    interrupted = fn.Trainer(train, tmp_path, max_time=1e-9, sync_every=every, save_every=every)
    for _ in range(4):
        run = interrupted(model(), DATA, the_key(), DATA)
    assert tables.same_bits(run.model, expected.model)
    assert tables.same_bits(dict(run.history), dict(expected.history))


def last_loss(rate: Any) -> Any:
    train = fit({"disc": optax.sgd(rate), "gen": optax.sgd(0.1)}, epochs=1)
    return train(model(), DATA, the_key()).history["gen_loss"][-1]


def test_a_run_compiles_once() -> None:
    chex.clear_trace_counter()
    once = jax.jit(chex.assert_max_traces(lambda rate: last_loss(rate), n=1))
    assert once(0.1) != once(0.2)


@pytest.mark.slow
def test_a_run_can_be_differentiated() -> None:
    value, step = jax.jit(last_loss), 1e-2
    expected = (value(0.1 + step) - value(0.1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(last_loss)(0.1), expected, rtol=2e-2)


def broken_loss(model: Any, example: Any, key: Any) -> Any:
    return jnp.sqrt(-jnp.ones(())) * model["disc"](example[0])


BROKEN = fn.losses.players(gen=gen_loss, disc=broken_loss)


def test_a_non_finite_player_stops_all() -> None:
    run = fn.fit(BROKEN, optimizers(), epochs=2, batch_size=16, shuffle=False)(model(), DATA, the_key())
    assert run.outcome is fn.Outcome.NOT_FINITE
    assert tables.same_bits(run.model, model())


@pytest.mark.slow
def test_a_non_finite_player_is_named() -> None:
    with pytest.raises(FloatingPointError, match="the loss of disc is not finite"):
        fn.fit(BROKEN, optimizers(), epochs=2, batch_size=16, shuffle=False, on_nan="raise")(
            model(), DATA, the_key()
        )


MODEL_OF_ONE = np.ones((), np.float32)


def of_b(model: Any, example: Any, key: Any) -> Any:
    return jnp.zeros(()), {"b_loss": jnp.ones(())}


def zero(model: Any, example: Any, key: Any) -> Any:
    return jnp.zeros(())


SQUARED = fn.losses.supervised(fn.losses.squared_error)
ADAM = optax.adam(1e-3)


def private() -> Any:
    return optax.contrib.differentially_private_aggregate(1.0, 1.0, the_key())


WRONG = {
    "no optimizer for each": (
        lambda: fn.fit(fn.losses.players(a=SQUARED), ADAM, epochs=1),
        "optimizer must be a dictionary with an optimizer for each player, got .* Try {'a': optax.adam",
    ),
    "no players": (
        lambda: fn.fit(SQUARED, {"a": ADAM}, epochs=1),
        r"needs a loss for each player, got loss. Try fn.losses.players\(a=a_loss\)",
    ),
    "other names": (
        lambda: fn.fit(fn.losses.players(a=SQUARED), {"b": ADAM}, epochs=1),
        "optimizer must be a dictionary of the players a, got b",
    ),
    "no such part": (
        lambda: fit()({"disc": jnp.ones(()), "other": jnp.ones(())}, DATA, the_key()),
        "must have a part for each player and no other parameters, got parts disc, other for players",
    ),
    "wrapped": (
        lambda: fn.losses.penalized(fn.losses.players(a=SQUARED), l2=1.0),
        "penalized expects one loss, got those of several players",
    ),
    "unknown order": (lambda: fn.losses.players(order="random", a=SQUARED), "order must be"),
    "unknown updates": (
        lambda: fn.losses.players(a=SQUARED, updates={"b": 2}),
        r"updates must name players \(a\), got 'b'",
    ),
    "in another loss": (
        lambda: fn.losses.weighted(fn.losses.players(a=SQUARED), lambda example: 1.0),
        "weighted expects one loss, got those of several players. Change the loss of each player",
    ),
    "in players": (
        lambda: fn.losses.players(b=fn.losses.players(a=SQUARED)),
        "players expects one loss, got those of several",
    ),
    "one number of updates": (
        lambda: fn.losses.players(a=SQUARED, updates=5),
        "updates must be a dictionary by player, got int 5",
    ),
    "names that meet": (
        lambda: fn.evaluate(
            fn.losses.players(a=of_b, a_b=zero), {"a": MODEL_OF_ONE, "a_b": MODEL_OF_ONE}, DATA
        ),
        "two values of a loss would be called 'a_b_loss'",
    ),
    "none": (lambda: fn.losses.players(), "players needs a loss for each player, got none"),
    "mixed": (
        lambda: fn.losses.players(a=SQUARED, b=fn.losses.batchwise(lambda m, b, w, k: jnp.zeros(()))),
        "got b of a batch. Mark the others",
    ),
    "private gradients": (
        lambda: fit({"disc": private(), "gen": ADAM})(model(), DATA, the_key()),
        "can't train one of several players",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_games_are_refused_by_a_sentence(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_schedule_of_a_player_ends_with_its_own_updates() -> None:
    def ramp(steps: int) -> Any:
        return optax.sgd(optax.linear_schedule(1.0, 0.0, steps))

    up = fn.losses.players(
        a=lambda m, e, k: -m["a"] + 0 * m["b"], b=lambda m, e, k: -m["b"] + 0 * m["a"], updates={"a": 5}
    )
    start = {"a": jnp.array(0.0), "b": jnp.array(0.0)}
    run = fn.fit(up, {"a": ramp, "b": ramp}, epochs=10, batch_size=4, shuffle=False)(
        start, jnp.ones(4), the_key()
    )
    np.testing.assert_allclose([run.model["a"], run.model["b"]], [25.5, 5.5], rtol=1e-5)


@pytest.mark.slow
def test_players_of_a_module_and_functions_of_the_number_of_steps() -> None:
    class Game(fn.Module):
        disc: fn.Module
        gen: fn.Module

    def on(loss: Any) -> Any:
        return functools.partial(lambda loss, m, e, k: loss({"disc": m.disc, "gen": m.gen}, e, k), loss)

    counts: list[int] = []

    def decayed(steps: int) -> Any:
        counts.append(steps)
        return optax.sgd(optax.linear_schedule(0.3, 0.0, steps))

    game = fn.losses.players(disc=on(disc_loss), gen=on(gen_loss))
    run = fn.fit(game, {"disc": decayed, "gen": ADAM}, epochs=3, batch_size=16, shuffle=False)(
        Game(**model()), DATA, the_key()
    )
    assert counts == [12]
    fixed = fit({"disc": optax.sgd(optax.linear_schedule(0.3, 0.0, 12)), "gen": ADAM})
    expected = fixed(model(), DATA, the_key()).model
    assert tables.same_bits((run.model.disc, run.model.gen), (expected["disc"], expected["gen"]))

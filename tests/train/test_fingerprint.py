"""What makes a run the same run: everything that its numbers depend on, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn

X = np.linspace(-1, 1, 16, dtype=np.float32)


def resume(folder, loss, **settings):
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=8, shuffle=False)
    return fn.Trainer(train, folder, progress=False, **settings)(np.float32(0), X, jax.random.key(0))


def loss_with(**targets):
    """A loss that closes over an array for each way to wrap a function: of ones, or of other targets."""
    targets = dict.fromkeys(WRAPS, 1) | targets

    def error(wrap, target):
        constant = jnp.asarray(np.full(4096, target, np.float32))
        return wrap(lambda model: jnp.mean((model - constant) ** 2))

    errors = [error(wrap, targets[name]) for name, wrap in WRAPS.items()]
    return lambda model, row, key: sum(error(model) for error in errors) + 0 * row


WRAPS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "jit_in_jit": lambda f: jax.jit(lambda model: jax.jit(f)(model)),
    "checkpoint": jax.checkpoint,
    "cond": lambda f: lambda model: jax.lax.cond(model > -9, f, lambda model: model, model),
    "scan": lambda f: lambda model: jax.lax.scan(lambda c, _: (c + f(model), None), 0.0, length=2)[0],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    resume(folder, loss_with())
    return folder


@pytest.mark.parametrize("name", WRAPS)
def test_an_array_that_a_loss_closes_over_is_a_part_of_the_run(name, saved):
    with pytest.raises(ValueError, match="program of a step"):
        resume(saved, loss_with(**{name: 2}))


def test_the_same_values_in_other_arrays_are_the_same_run(saved):
    assert int(resume(saved, loss_with()).state.epoch) == 2


def test_a_mesh_is_not_a_part_of_the_run(tmp_path):
    def loss(model, row, key):
        return (model - row) ** 2

    resume(tmp_path, loss)
    with fn.mesh.use(1):
        run = resume(tmp_path, loss)
    assert int(run.state.epoch) == 2


def test_a_run_of_a_terminal_is_resumed_elsewhere(tmp_path, monkeypatch):
    """JAX prints programs in color on a terminal and in notebooks."""

    def loss(model, row, key):
        return (model - row) ** 2

    with monkeypatch.context() as patch:
        patch.setattr("jax._src.pretty_printer.CAN_USE_COLOR", True)
        assert "\x1b" in f"{jax.make_jaxpr(jnp.sin)(1.0).jaxpr}"
        resume(tmp_path, loss)
    resume(tmp_path, loss)  # raises if it is another run

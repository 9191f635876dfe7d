"""What makes a run the same run: everything that its numbers depend on, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnet as fn

KEY = jax.random.key(0)
X = np.linspace(-1, 1, 16, dtype=np.float32)


def resume(folder, loss, **settings):
    train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=8)
    return fn.Trainer(train, folder, progress=False, **settings)(jnp.array(0.0), X, KEY)


def loss_with(wrap, target):
    constant = jnp.arange(4096.0) * 0 + target

    @wrap
    def error(model):
        return jnp.mean((model - constant) ** 2)

    return lambda model, row, key: error(model) + 0 * row


WRAPS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "jit in jit": lambda f: jax.jit(lambda model: jax.jit(f)(model)),
    "checkpoint": jax.checkpoint,
    "cond": lambda f: lambda model: jax.lax.cond(model > -9, f, lambda model: model, model),
    "scan": lambda f: lambda model: jax.lax.scan(lambda c, _: (c + f(model), None), 0.0, length=2)[0],
}


@pytest.mark.parametrize("name", WRAPS)
def test_an_array_that_a_loss_closes_over_is_a_part_of_the_run(name, tmp_path):
    resume(tmp_path, loss_with(WRAPS[name], 1.0))
    resume(tmp_path, loss_with(WRAPS[name], 1.0))  # the same values in another array
    with pytest.raises(ValueError, match="program of a step"):
        resume(tmp_path, loss_with(WRAPS[name], 2.0))


def test_a_mesh_is_not_a_part_of_the_run(tmp_path):
    def loss(model, row, key):
        return (model - row) ** 2

    resume(tmp_path, loss)
    with fn.mesh.use(1):
        run = resume(tmp_path, loss)
    assert int(run.state.epoch) == 2

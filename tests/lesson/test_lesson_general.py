"""Graphs defined before they run (rows X1 to X3), and what a framework promises (G1 to G8)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from recipes import BINARY, D2, KEY

import funcnet as fn

TRAIN = fn.fit(BINARY, optax.adam(0.01), epochs=2, batch_size=16)
MODEL = fn.models.Perceptron(2).init(KEY)


def test_x1_x2_x3_a_training_is_a_graph_that_is_placed_and_then_run():
    graph = jax.jit(TRAIN).lower(MODEL, D2[0], KEY)  # X1: defined, not run yet
    assert "stablehlo" in graph.as_text() or "func.func" in graph.as_text()
    assert graph.compile().cost_analysis()["flops"] > 0
    device = jax.devices()[1]
    placed = jax.device_put((MODEL, D2[0], KEY), device)  # X2
    run = jax.jit(TRAIN).lower(*placed).compile()(*placed)  # X3
    assert run.history["loss"].devices() == {device}
    np.testing.assert_allclose(run.history["loss"], TRAIN(MODEL, D2[0], KEY).history["loss"], rtol=1e-6)


def test_g2_the_gradient_of_any_expression():
    gradient = jax.grad(lambda x: jnp.sin(x) * jnp.exp(-(x**2)) + jax.nn.softplus(x))(0.7)
    expected = np.cos(0.7) * np.exp(-0.49) - 1.4 * np.sin(0.7) * np.exp(-0.49) + 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_g7_levels_mix():
    """A high-level network in a low-level loop ends where `fit` ends."""
    run = TRAIN(MODEL, D2[0], KEY)
    step = jax.jit(fn.step(BINARY, optax.adam(0.01)))
    state = fn.TrainState.create(MODEL, optax.adam(0.01), KEY)
    for epoch in range(2):
        for batch in fn.data.batches(D2[0], 16, KEY, epoch):
            state, _ = step(state, batch)
    np.testing.assert_allclose(state.model.linear.weight, run.model.linear.weight, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(400, 400), (400, 400, 3), (16, 400, 400, 3), (25, 400, 400, 3), (8, 25, 400, 400, 3)]
)
def test_g8_tensors_of_every_rank_pass_through_a_layer(shape):
    layer = fn.Linear(shape[-1], 2)
    output = jax.eval_shape(lambda x: layer.init(KEY)(x), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert output.shape == (*shape[:-1], 2)

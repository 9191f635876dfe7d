"""Graphs defined before they run (rows X1 to X3), and what a framework promises (G1 to G8)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from keys import cached_key
from recipes import BINARY, d2

import funcnet as fn

TRAIN = fn.fit(BINARY, optax.adam(0.01), epochs=2, batch_size=16)


@functools.cache
def model():
    return fn.models.Perceptron(2).init(cached_key(0))


def test_x1_x2_x3_a_training_is_a_graph_that_is_placed_and_then_run():
    device = jax.devices()[1]
    placed = jax.device_put((model(), d2()[0], cached_key(0)), device)  # X2
    graph = jax.jit(TRAIN).lower(*placed)  # X1: defined, not run yet
    assert "stablehlo" in graph.as_text() or "func.func" in graph.as_text()
    compiled = graph.compile()
    assert compiled.cost_analysis()["flops"] > 0
    run = compiled(*placed)  # X3
    assert run.history["loss"].devices() == {device}
    expected = TRAIN(model(), d2()[0], cached_key(0)).history["loss"]
    np.testing.assert_allclose(run.history["loss"], expected, rtol=1e-6)


def test_g2_the_gradient_of_any_expression():
    slope = jax.jit(jax.grad(lambda x: jnp.sin(x) * jnp.exp(-(x**2)) + jax.nn.softplus(x)))
    gradient = slope(0.7)
    expected = np.cos(0.7) * np.exp(-0.49) - 1.4 * np.sin(0.7) * np.exp(-0.49) + 1 / (1 + np.exp(-0.7))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_g7_levels_mix():
    """A high-level network in a low-level loop ends where `fit` ends."""
    run = TRAIN(model(), d2()[0], cached_key(0))
    step = jax.jit(fn.step(BINARY, optax.adam(0.01)))
    state = fn.TrainState.create(model(), optax.adam(0.01), cached_key(0))
    for epoch in range(2):
        for batch in fn.data.batches(d2()[0], 16, cached_key(0), epoch):
            state, _ = step(state, batch)
    np.testing.assert_allclose(state.model.linear.weight, run.model.linear.weight, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(400, 400), (400, 400, 3), (16, 400, 400, 3), (25, 400, 400, 3), (8, 25, 400, 400, 3)]
)
def test_g8_tensors_of_every_rank_pass_through_a_layer(shape):
    layer = fn.Linear(shape[-1], 2)
    output = jax.eval_shape(
        lambda x: layer.init(cached_key(0))(x), jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    assert output.shape == (*shape[:-1], 2)

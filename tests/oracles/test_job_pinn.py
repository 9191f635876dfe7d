"""The physics-informed network of `experiments/` and that of PyTorch: one start, one order, one result."""

import itertools

import jax
import numpy as np
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches, to_tensor

import funcnet as fn

pytestmark = pytest.mark.slow
JOB, PEER = load_job("pinn")


def test_the_heat_equation_is_solved_as_in_pytorch():
    data, key, epochs = JOB["draw_points"](200), jax.random.key(1), 6
    model, net = JOB["NET"].init(jax.random.key(0)), PEER["make_net"]()
    for linear, layer in zip(net[::2], model.layers, strict=True):
        copy_linear(linear, layer)
    batches = (tensor_batches(data, 64, key, epoch) for epoch in range(epochs))
    expected = PEER["solve"](net, batches, epochs * 4)
    run = JOB["solve"](model, data, key, epochs)
    np.testing.assert_allclose(run.history["loss"], expected, rtol=2e-4)
    points = np.asarray(list(itertools.product((0.1, 0.5, 0.9), repeat=2)), np.float32)
    temperatures = net(to_tensor(points)).squeeze(-1).detach()
    np.testing.assert_allclose(fn.predict(run.model, points), temperatures, atol=2e-4)

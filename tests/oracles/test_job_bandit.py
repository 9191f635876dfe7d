"""The contextual bandit of `experiments/` and that of PyTorch: one start, one chance, one regret."""

import jax
import numpy as np
import pytest
from torch_jobs import copy_linear, load_job, to_tensor

pytestmark = pytest.mark.slow
JOB, PEER = load_job("bandit")


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_a_bandit_regrets_what_it_regrets_in_pytorch(epsilon):
    rounds, model = JOB["draw_rounds"](jax.random.key(2), 60), JOB["NET"].init(jax.random.key(0))
    net = PEER["make_net"]()
    for linear, layer in zip(net[::2], model.layers, strict=True):
        copy_linear(linear, layer)
    drawn = (tuple(to_tensor(a[i]) for a in rounds) for i in range(60))
    expected = PEER["play"](net, drawn, epsilon, to_tensor(JOB["TASTE"]))
    regret = jax.jit(JOB["play"])(model, rounds, epsilon, jax.random.key(3))
    np.testing.assert_allclose(regret, expected, rtol=1e-3, atol=1e-4)
    assert np.mean(regret[-20:]) < 0.8 * np.mean(regret[:10])

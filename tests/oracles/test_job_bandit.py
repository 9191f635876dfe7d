"""The contextual bandit of `experiments/` and that of PyTorch: one start, one chance, one regret."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_a_bandit_regrets_what_it_regrets_in_pytorch(epsilon):
    ours, theirs = (runpy.run_path(str(EXPERIMENTS / f)) for f in ("bandit.py", "peers/bandit.py"))
    rounds, model = ours["draw_rounds"](jax.random.key(2), 60), ours["NET"].init(jax.random.key(0))
    net = theirs["make_net"]()
    with torch.no_grad():
        for layer, start in zip(net[::2], model.layers, strict=True):
            layer.weight.copy_(torch.tensor(np.asarray(start.weight).T.copy()))
            layer.bias.copy_(torch.tensor(np.asarray(start.bias)))
    drawn = (tuple(torch.tensor(np.asarray(a[i])) for a in rounds) for i in range(60))
    expected = theirs["play"](net, drawn, epsilon, torch.tensor(ours["TASTE"]))
    regret = jax.jit(ours["play"])(model, rounds, epsilon, jax.random.key(3))
    np.testing.assert_allclose(regret, expected, rtol=1e-3, atol=1e-4)
    assert np.mean(regret[-20:]) < 0.8 * np.mean(regret[:10])

"""The physics-informed network of `experiments/` and that of PyTorch: one start, one order, one result."""

import itertools
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
import torch

import funcnet as fn

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
def test_the_heat_equation_is_solved_as_in_pytorch():
    ours, theirs = (runpy.run_path(str(EXPERIMENTS / f)) for f in ("pinn.py", "peers/pinn.py"))
    data, key, epochs = ours["draw_points"](200), jax.random.key(1), 6
    model = ours["NET"].init(jax.random.key(0))
    net = theirs["make_net"]()
    with torch.no_grad():
        for layer, start in zip(net[::2], model.layers, strict=True):
            weight = np.atleast_2d(np.asarray(start.weight).reshape(start.weight.shape[0], -1))
            layer.weight.copy_(torch.tensor(weight.T.copy()))
            layer.bias.copy_(torch.tensor(np.asarray(start.bias).reshape(-1)))

    def batches(epoch):
        for batch in fn.data.batches(data, 64, key, epoch):
            kept = np.asarray(batch.weight) > 0
            yield tuple(torch.tensor(np.asarray(a)[kept]) for a in batch.example)

    expected = theirs["solve"](net, map(batches, range(epochs)), epochs * 4)
    run = ours["solve"](model, data, key, epochs)
    np.testing.assert_allclose(run.history["loss"], expected, rtol=2e-4)
    points = np.asarray(list(itertools.product((0.1, 0.5, 0.9), repeat=2)), np.float32)
    with torch.no_grad():
        temperatures = net(torch.tensor(points)).squeeze(-1).numpy()
    np.testing.assert_allclose(fn.predict(run.model, points), temperatures, atol=2e-4)

"""The generative adversarial network of experiments/gan.py plays as PyTorch's does."""

import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import funcnet as fn

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize("updates", [1, 3])
def test_a_gan_has_the_losses_of_pytorchs(updates: int) -> None:
    """From the same start, in the same order of the rows; the noise of the generator differs.

    `tests/train/test_players.py` has the same noise, and the same weights up to rounding.
    """
    ours, peer = (runpy.run_path(str(EXPERIMENTS / file)) for file in ("gan.py", "peers/gan.py"))
    epochs, key, points = 40, jax.random.key(1), ours["points"][:2_048]
    start = ours["players"](jax.random.key(0))
    history = ours["train_gan"](start, points, epochs, updates={"disc": updates}).history

    model = peer["players"]()
    for name, net in start.items():
        for linear, layer in zip(model[name][::2], net.layers, strict=True):
            weight = np.array(layer.weight).reshape(layer.weight.shape[0], -1).T
            linear.weight.data = torch.tensor(weight.copy())
            linear.bias.data = torch.tensor(np.array(layer.bias).reshape(-1))
    rows = np.arange(len(points))

    def order(epoch: int) -> Any:
        return [np.array(batch.example) for batch in fn.data.batches(rows, 256, key, epoch)]

    torch.manual_seed(0)
    expected, _ = peer["train_gan"](model, torch.tensor(points), epochs, order, updates)
    losses = np.stack([history["disc_loss"], history["gen_loss"]], axis=1)
    smooth = np.ones(5) / 5
    for player in range(2):
        ours_smooth = np.convolve(losses[:, player], smooth, "valid")
        peer_smooth = np.convolve(np.array(expected)[:, player], smooth, "valid")
        np.testing.assert_allclose(ours_smooth, peer_smooth, rtol=0.1)

"""The variational autoencoder of experiments/vae.py ends where PyTorch's does."""

import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import funcnet as fn

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
def test_a_vae_with_an_annealed_loss_trains_as_in_pytorch() -> None:
    """From the same start, in the same order of the rows; the noise of the latents differs."""
    ours, peer = (runpy.run_path(str(EXPERIMENTS / file)) for file in ("vae.py", "peers/vae.py"))
    epochs, steps, key = 30, 30 * 14, jax.random.key(1)
    beta = optax.linear_schedule(0.0, 1.0, steps // 2)
    start = ours["VAE"]().init(jax.random.key(0))
    history = ours["train_vae"](beta, start, ours["train_rows"], epochs).history

    model = peer["VAE"]()
    for net, layers in ((model.encoder, start.encoder.layers), (model.decoder, start.decoder.layers)):
        for linear, layer in zip((net[0], net[2]), layers, strict=True):
            linear.weight.data = torch.tensor(np.array(layer.weight).T)
            linear.bias.data = torch.tensor(np.array(layer.bias))
    rows = np.arange(len(ours["train_rows"]))

    def order(epoch: int) -> Any:
        return [np.array(batch.example) for batch in fn.data.batches(rows, 100, key, epoch)]

    images, valid = (torch.tensor(np.array(a)) for a in (ours["train_rows"], ours["test_rows"]))
    torch.manual_seed(0)
    expected = peer["train_vae"](lambda step: float(beta(step)), model, images, valid, epochs, order)
    np.testing.assert_allclose(history["val_loss"][-5:], expected[-5:], rtol=0.02)
    assert history["val_loss"][0] > 1.2 * history["val_loss"][-1]

"""The variational autoencoder of experiments/vae.py ends where PyTorch's does."""

import jax
import numpy as np
import optax
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches, to_tensor, torch

pytestmark = pytest.mark.slow
JOB, PEER = load_job("vae")


def test_a_vae_with_an_annealed_loss_trains_as_in_pytorch() -> None:
    """From the same start, in the same order of the rows; the noise of the latents differs."""
    epochs, steps, key = 30, 30 * 14, jax.random.key(1)
    beta = optax.linear_schedule(0.0, 1.0, steps // 2)
    start = JOB["VAE"]().init(jax.random.key(0))
    history = JOB["train_vae"](beta, start, JOB["train_rows"], epochs).history

    model = PEER["VAE"]()
    for name in ("encoder", "decoder"):
        for linear, layer in zip(getattr(model, name)[::2], getattr(start, name).layers, strict=True):
            copy_linear(linear, layer)
    rows = np.arange(len(JOB["train_rows"]))
    images, valid = (to_tensor(JOB[name]) for name in ("train_rows", "test_rows"))
    torch.manual_seed(0)
    expected = PEER["train_vae"](
        lambda step: float(beta(step)),
        model,
        images,
        valid,
        epochs,
        lambda epoch: tensor_batches(rows, 100, key, epoch),
    )
    np.testing.assert_allclose(history["val_loss"][-5:], expected[-5:], rtol=0.02)
    assert history["val_loss"][0] > 1.2 * history["val_loss"][-1]

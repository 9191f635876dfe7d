"""The generative adversarial network of experiments/gan.py plays as PyTorch's does."""

import jax
import numpy as np
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches, to_tensor, torch

pytestmark = pytest.mark.slow
JOB, PEER = load_job("gan")


@pytest.mark.parametrize("updates", [1, 3])
def test_a_gan_has_the_losses_of_pytorchs(updates: int) -> None:
    """From the same start, in the same order of the rows; the noise of the generator differs.

    `tests/train/test_players.py` has the same noise, and the same weights up to rounding.
    """
    epochs, key, points = 40, jax.random.key(1), JOB["points"][:2_048]
    start = JOB["players"](jax.random.key(0))
    history = JOB["train_gan"](start, points, epochs, updates={"disc": updates}).history

    model, rows = PEER["players"](), np.arange(len(points))
    for name, net in start.items():
        for linear, layer in zip(model[name][::2], net.layers, strict=True):
            copy_linear(linear, layer)
    torch.manual_seed(0)
    expected, _ = PEER["train_gan"](
        model, to_tensor(points), epochs, lambda epoch: tensor_batches(rows, 256, key, epoch), updates
    )
    losses = np.stack([history["disc_loss"], history["gen_loss"]], axis=1)
    smooth = np.ones(5) / 5
    for player in range(2):
        ours_smooth = np.convolve(losses[:, player], smooth, "valid")
        peer_smooth = np.convolve(np.array(expected)[:, player], smooth, "valid")
        np.testing.assert_allclose(ours_smooth, peer_smooth, rtol=0.1)

"""The variational autoencoder of experiments/vae.py in PyTorch.

python experiments/peers/vae.py
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

LATENTS = 8


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * LATENTS))
        self.decoder = nn.Sequential(nn.Linear(LATENTS, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        noise = torch.randn_like(mean) if self.training else 0.0
        return self.decoder(mean + torch.exp(log_variance / 2) * noise), mean, log_variance


def losses(model: VAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats of the pixels and of the latents, means over the images."""
    logits, mean, log_variance = model(images)
    pixels = binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=1)
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
    return pixels.mean(), kl.mean()


def train_vae(
    beta: Callable[[int], float],
    model: VAE,
    images: torch.Tensor,
    valid: torch.Tensor,
    epochs: int,
    order: Callable[[int], Iterable[Any]],
) -> list[float]:
    """Train in the given order of the rows; return the validation loss after each epoch, with beta = 1."""
    optimizer, step, history = torch.optim.Adam(model.parameters(), 2e-3), 0, []
    for epoch in range(epochs):
        model.train()
        for rows in order(epoch):
            pixels, kl = losses(model, images[rows])
            loss = pixels + beta(step) * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        model.eval()
        with torch.no_grad():
            history.append(float(sum(losses(model, valid))))
    return history


def main(epochs: int = 100) -> None:
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().data / 16.0, dtype=torch.float32)
    images, valid, steps = digits[:1_400], digits[1_400:], epochs * 14
    schedules: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "annealed": lambda step: min(1.0, step / (steps // 2)),
    }
    for name, beta in schedules.items():
        torch.manual_seed(0)
        model = VAE()
        train_vae(beta, model, images, valid, epochs, lambda _: torch.randperm(1_400).split(100))
        torch.manual_seed(2)
        model.train()
        with torch.no_grad():
            pixels, kl = losses(model, valid)
            active = int((np.var(model(valid)[1].numpy(), axis=0) > 0.01).sum())
        print(f"{name:14}{pixels + kl:8.2f}{pixels:8.2f}{kl:7.2f}{active:13} / {LATENTS}")


if __name__ == "__main__":
    main()

"""The generative adversarial network of experiments/gan.py in PyTorch.

python experiments/peers/gan.py
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

NOISE, ROWS = 8, 4_096


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def players() -> dict[str, nn.Module]:
    return {"disc": mlp(2, 64, 64, 1), "gen": mlp(NOISE, 64, 64, 2)}


def train_gan(
    model: dict[str, nn.Module],
    data: torch.Tensor,
    epochs: int,
    order: Callable[[int], Iterable[Any]],
    disc_updates: int = 1,
) -> tuple[list[tuple[float, float]], dict[str, nn.Module]]:
    """Train in the given order of the rows; return both losses by epoch, and the averaged generator."""
    disc, gen = model["disc"], model["gen"]
    disc_optimizer = torch.optim.Adam(disc.parameters(), 1e-3, betas=(0.5, 0.999))
    gen_optimizer = torch.optim.Adam(gen.parameters(), 1e-3, betas=(0.5, 0.999))
    average = torch.optim.swa_utils.AveragedModel(
        gen, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    loss, history = binary_cross_entropy_with_logits, []
    for epoch in range(epochs):
        totals = np.zeros(3)
        for rows in order(epoch):
            real = data[rows]
            one, zero = torch.ones(len(real), 1), torch.zeros(len(real), 1)
            for _ in range(disc_updates):
                fake = gen(torch.randn(len(real), NOISE)).detach()
                disc_loss = loss(disc(real), one) + loss(disc(fake), zero)
                disc_optimizer.zero_grad()
                disc_loss.backward()
                disc_optimizer.step()
            gen_loss = loss(disc(gen(torch.randn(len(real), NOISE))), one)
            gen_optimizer.zero_grad()
            gen_loss.backward()
            gen_optimizer.step()
            average.update_parameters(gen)
            totals += len(real) * np.array([disc_loss.item(), gen_loss.item(), 1.0])
        history.append((totals[0] / totals[2], totals[1] / totals[2]))
    return history, {"disc": disc, "gen": average.module}


def main(epochs: int = 400) -> None:
    angles = np.arange(8) * np.pi / 4
    places = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rng = np.random.default_rng(0)
    points = places[rng.integers(8, size=ROWS)] + 0.1 * rng.normal(size=(ROWS, 2))
    data = torch.tensor(points, dtype=torch.float32)
    for updates in (1, 3):
        torch.manual_seed(0)
        history, model = train_gan(
            players(), data, epochs, lambda _: torch.randperm(ROWS).split(256), updates
        )
        with torch.no_grad():
            made = model["gen"](torch.randn(2_000, NOISE)).numpy()
        distances = np.linalg.norm(made[:, None] - places, axis=-1)
        counts = np.bincount(distances.argmin(axis=1), minlength=8)
        places_hit, near = int((counts >= 40).sum()), float((distances.min(axis=1) < 0.3).mean())
        disc_loss, gen_loss = history[-1]
        print(f"{updates} of disc{disc_loss:10.3f}{gen_loss:10.3f}{places_hit:4} / 8{near:10.3f}")


if __name__ == "__main__":
    main()

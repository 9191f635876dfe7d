"""The networks, the optimizer and the loss in PyTorch: shared by the jobs that use PyTorch."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from jobs import channels_first
from workloads import Weights, Workload

THREADS = sorted({1, os.cpu_count() or 1})


def use(device: str) -> str:
    """Make ready for a device and return its name.

    On a GPU float32 products may be rounded to TF32, as JAX rounds them there by default.
    """
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    return device


def finish(like: torch.Tensor) -> None:
    """Wait until the device of this tensor has done its work."""
    if like.is_cuda:
        torch.cuda.synchronize()


def network(work: Workload, device: str = "cpu") -> nn.Sequential:
    """The network at the start."""
    steps: list[nn.Module] = []
    for kernel, _ in work.layers:
        if kernel.ndim == 4:
            steps += [nn.Conv2d(*kernel.shape[2:], 3), nn.ReLU(), nn.MaxPool2d(2)]
        else:
            steps += [nn.Linear(*kernel.shape), nn.ReLU()]
    if work.convolutions:
        steps.insert(-2, nn.Flatten())
    made = nn.Sequential(*steps[:-1]).to(device)
    restart(work, made)
    return made


@torch.no_grad()
def restart(work: Workload, made: nn.Module) -> None:
    """Restore the initial weights."""
    for layer, (weight, bias) in zip(_layers(made), channels_first.turned(work), strict=True):
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


def weights(work: Workload, made: nn.Module) -> Weights:
    layers = [
        (layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in _layers(made)
    ]
    return channels_first.turned_back(work, layers)


def optimizer(work: Workload, made: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[work.optimizer]
    return kind(made.parameters(), lr=work.learning_rate, fused=fused)


def tensors(work: Workload, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    x, y = torch.from_numpy(channels_first.images(work)), torch.from_numpy(work.y)
    return x.to(device), (y.long() if work.classes else y).to(device)


def losses(work: Workload) -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    """The mean loss of a batch and the number of correct classes (0 for numbers)."""
    if not work.classes:
        return lambda outputs, y: (nn.functional.mse_loss(outputs.squeeze(-1), y), y.new_zeros(()))
    return lambda outputs, y: (
        nn.functional.cross_entropy(outputs, y),
        (outputs.detach().argmax(1) == y).sum(),
    )


def _layers(made: nn.Module) -> Iterator[Any]:
    return (layer for layer in made.modules() if isinstance(layer, nn.Linear | nn.Conv2d))

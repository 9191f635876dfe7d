"""PyTorch, the same loop, network and loss compiled by torch.compile (Inductor; needs a C++ compiler).

The short last batch has its own program (dynamic=False); the fused optimizer is not compiled.
"""

from typing import Any

import torch

from jobs import Job, torch_loop, torch_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"threads": threads} for threads in torch_network.THREADS]


def prepare(work: Workload, threads: int, device: str = "cpu", mode: str | None = None) -> Job:
    torch.set_num_threads(threads)  # Inductor writes the number into its loops
    net = torch_network.network(work, torch_network.use(device))
    x, y = torch_network.tensors(work, device)
    losses = torch_network.losses(work)

    @torch.compile(dynamic=False, mode=mode)
    def evaluate(x: Any, y: Any) -> Any:
        return losses(net(x), y)

    return Job(
        lambda seed: torch_loop.training(work, net, evaluate, x, y, threads, True, seed),
        lambda made: torch_network.weights(work, made),
    )

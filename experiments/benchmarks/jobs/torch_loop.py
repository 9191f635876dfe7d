"""PyTorch, eager, by hand: all rows in two tensors, batches by index tensors, no DataLoader.

The fastest plain loop: one thread or all, the fused optimizer or the default one; for images, channels
first or last in memory.
"""

import itertools
from typing import Any

import torch

from jobs import Job, torch_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    choices = itertools.product(torch_network.THREADS, (True, False))
    ways = [{"threads": threads, "fused": fused} for threads, fused in choices]
    if not work.convolutions:
        return ways
    return [way | {"channels_last": last} for way in ways for last in (True, False)]


def prepare(
    work: Workload, threads: int, fused: bool = True, channels_last: bool = False, device: str = "cpu"
) -> Job:
    net = torch_network.network(work, torch_network.use(device))
    x, y = torch_network.tensors(work, device)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    losses = torch_network.losses(work)

    def evaluate(x: Any, y: Any) -> Any:
        return losses(net(x), y)

    return Job(
        lambda seed: training(work, net, evaluate, x, y, threads, fused, seed),
        lambda made: torch_network.weights(work, made),
    )


def training(
    work: Workload, net: Any, evaluate: Any, x: Any, y: Any, threads: int, fused: bool, seed: int
) -> Any:
    """The loop, on the device of x; `evaluate(x, y)` gives a batch's mean loss and how many are right."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch_network.restart(work, net)
    optimizer, n, device = torch_network.optimizer(work, net, fused), len(x), x.device
    history = []
    for _ in range(work.epochs):
        order = torch.randperm(n, device=device) if work.shuffle else torch.arange(n, device=device)
        total, right = x.new_zeros(()), torch.zeros((), dtype=torch.long, device=device)
        for rows in order.split(work.batch_size):
            loss, hits = evaluate(x[rows], y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            right = right + hits
        history.append((total / n, right / n))
    torch_network.finish(x)
    return net

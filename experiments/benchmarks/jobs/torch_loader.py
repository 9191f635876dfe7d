"""PyTorch, eager, as in its tutorials: TensorDataset, DataLoader, a loop by hand."""

from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from jobs import Job, torch_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"threads": threads} for threads in torch_network.THREADS]


def prepare(work: Workload, threads: int) -> Job:
    net = torch_network.network(work)
    losses = torch_network.losses(work)
    loader = DataLoader(
        TensorDataset(*torch_network.tensors(work)), batch_size=work.batch_size, shuffle=work.shuffle
    )

    def train(seed: int) -> Any:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        torch_network.restart(work, net)
        optimizer, history = torch_network.optimizer(work, net), []
        for _ in range(work.epochs):
            total, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
            for x, y in loader:
                loss, hits = losses(net(x), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(x)
                right = right + hits
            history.append((total / len(work.x), right / len(work.x)))
        return net

    return Job(train, lambda made: torch_network.weights(work, made))

"""A thousand runs at once in PyTorch: `torch.func.vmap` over stacked models.

Every member has its own initial weights and order of rows; one vmapped function computes all gradients,
and one Adam updates the stacked parameters.
"""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from jobs import MEMBERS, Job, torch_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"threads": threads} for threads in torch_network.THREADS] if work.classes else []


def prepare(work: Workload, threads: int, members: int = MEMBERS, device: str = "cpu") -> Job:
    net = torch_network.network(work, torch_network.use(device))
    x, y = torch_network.tensors(work, device)
    names = [name for name, _ in net.named_parameters()]

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return nn.functional.cross_entropy(functional_call(net, parameters, x), y)

    gradient = vmap(grad_and_value(loss))

    def train(seed: int) -> Any:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        stacked = {name: _starts(members, p) for name, p in net.named_parameters()}
        optimizer = torch.optim.Adam(stacked.values(), lr=work.learning_rate, fused=True)
        for _ in range(work.epochs):
            order = torch.rand(members, len(x), device=device).argsort(dim=1)
            for rows in order.split(work.batch_size, dim=1):
                found, _ = gradient({n: p.detach() for n, p in stacked.items()}, x[rows], y[rows])
                for name in names:
                    stacked[name].grad = found[name]
                optimizer.step()
        torch_network.finish(x)
        return stacked

    def weights(stacked: Any) -> Any:
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(stacked[name][0])
        return torch_network.weights(work, net)

    return Job(train, weights)


def _starts(members: int, like: torch.Tensor) -> torch.Tensor:
    """A start for each member, as `nn.Linear` draws it."""
    bound = like.shape[-1] ** -0.5
    starts = torch.empty(members, *like.shape, device=like.device)
    return starts.uniform_(-bound, bound).requires_grad_()

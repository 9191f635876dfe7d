"""`experiments/pinn.py` in PyTorch: a physics-informed network for the heat equation.

python experiments/peers/pinn.py
"""

import math

import torch

DIFFUSIVITY = 0.1


def make_net():
    return torch.nn.Sequential(
        torch.nn.Linear(2, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 1),
    )


def exact(points):
    x, t = points.T
    return torch.exp(-DIFFUSIVITY * math.pi**2 * t) * torch.sin(math.pi * x)


def draw_points(n):
    inside, edge = torch.rand(2, n, 2)
    sides = torch.arange(n) % 3
    edge[sides == 0, 0], edge[sides == 1, 0], edge[sides == 2, 1] = 0.0, 1.0, 0.0
    return inside, edge, exact(edge)


# The job, to be compared with pinn.py.
def heat_loss(net, inside, edge, value):
    inside = inside.clone().requires_grad_(True)
    u = net(inside).squeeze(-1)
    first = torch.autograd.grad(u.sum(), inside, create_graph=True)[0]
    u_x, u_t = first[:, 0], first[:, 1]
    u_xx = torch.autograd.grad(u_x.sum(), inside, create_graph=True)[0][:, 0]
    equation = ((u_t - DIFFUSIVITY * u_xx) ** 2).mean()
    edges = ((net(edge).squeeze(-1) - value) ** 2).mean()
    return equation + edges


def solve(net, epochs_of_batches, steps, rate=5e-3):
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    for batches in epochs_of_batches:
        total, rows = 0.0, 0
        for inside, edge, value in batches:
            optimizer.zero_grad()
            loss = heat_loss(net, inside, edge, value)
            loss.backward()
            optimizer.step()
            schedule.step()
            total, rows = total + loss.item() * len(inside), rows + len(inside)
        history.append(total / rows)
    return history


def main():
    torch.manual_seed(0)
    net, data = make_net(), torch.utils.data.TensorDataset(*draw_points(1024))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    history = solve(net, (loader for _ in range(300)), 300 * len(loader))
    axis = torch.linspace(0, 1, 101)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        error = net(grid).squeeze(-1) - exact(grid)
    print(f"loss {history[-1]:.2e}, relative error {error.norm() / exact(grid).norm():.2e}")


if __name__ == "__main__":
    main()

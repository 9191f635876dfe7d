"""SimCLR in plain PyTorch, on the views and the batches of `experiments/contrastive_learning.py`."""

import torch
from torch import nn
from torch.nn import functional

TEMPERATURE = 0.2


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128)
        )
        self.projector = nn.Sequential(
            nn.Linear(128, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64)
        )

    def forward(self, x):
        return self.projector(functional.relu(self.encoder(x)))


def nt_xent(model, a, b):
    z = functional.normalize(torch.cat([model(a), model(b)]))
    similarity = z @ z.T / TEMPERATURE
    similarity = similarity.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    partner = torch.arange(len(z)).roll(len(a))
    return functional.cross_entropy(similarity, partner)


def train(model, epochs):
    """`epochs`: for each epoch its batches (a, b). Returns the mean loss of each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    history = []
    for batches in epochs:
        total, rows = 0.0, 0
        for a, b in batches:
            optimizer.zero_grad()
            loss = nt_xent(model, a, b)
            loss.backward()
            optimizer.step()
            total, rows = total + loss.item() * len(a), rows + len(a)
        history.append(total / rows)
    return history

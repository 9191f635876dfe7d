"""`experiments/transfer_learning.py` in PyTorch, as its tutorial on transfer learning writes it."""

import torch
from torch import nn


class Flatten(nn.Module):
    """Flattens channels last, so that the heads of both libraries can start from the same weights."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding="same", bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding="same", bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            Flatten(),
        )
        self.head = nn.Linear(512, 5)

    def forward(self, x):
        return self.head(self.backbone(x))


def from_scratch(net):
    return torch.optim.Adam(net.parameters(), lr=3e-3)


def frozen(net):
    for parameter in net.backbone.parameters():
        parameter.requires_grad_(False)
    return torch.optim.Adam(net.head.parameters(), lr=3e-3)


def fine_tuned(net):
    return torch.optim.Adam(net.parameters(), lr=3e-3)


def rates_by_path(net):
    groups = [{"params": net.head.parameters()}, {"params": net.backbone.parameters(), "lr": 3e-4}]
    return torch.optim.Adam(groups, lr=3e-3)


def train(net, optimizer, epochs):
    """Train on epochs of batches (images, labels); return the mean loss of each epoch."""
    loss_of, losses = nn.CrossEntropyLoss(), []
    for batches in epochs:
        net.train()
        if not any(parameter.requires_grad for parameter in net.backbone.parameters()):
            net.backbone.eval()  # or BatchNorm would move
        total = count = 0
        for images, labels in batches:
            optimizer.zero_grad()
            loss = loss_of(net(images), labels)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(labels), count + len(labels)
        losses.append(total / count)
    net.eval()
    return losses

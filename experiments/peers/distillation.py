"""`experiments/distillation.py` in PyTorch, as its tutorial on knowledge distillation writes it."""

import itertools

import torch
from torch import nn


def mlp(*sizes):
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def distil(teacher, student, epochs, temperature=4.0, share=0.75, rate=5e-3):
    """Train a student on epochs of batches (pixels, labels); return the mean loss of each epoch."""
    cross_entropy, losses = nn.CrossEntropyLoss(), []
    optimizer = torch.optim.Adam(student.parameters(), lr=rate)
    teacher.eval()
    for batches in epochs:
        student.train()
        total = count = 0
        for pixels, labels in batches:
            optimizer.zero_grad()
            with torch.no_grad():
                soft = nn.functional.softmax(teacher(pixels) / temperature, dim=-1)
            logits = student(pixels)
            log_probabilities = nn.functional.log_softmax(logits / temperature, dim=-1)
            from_teacher = (soft * (soft.log() - log_probabilities)).sum() / len(labels) * temperature**2
            loss = share * from_teacher + (1 - share) * cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(labels), count + len(labels)
        losses.append(total / count)
    student.eval()
    return losses

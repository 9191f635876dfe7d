"""Distillation beside PyTorch, from the same weights over the same batches."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
KEY = jax.random.key(4)
ROWS, EPOCHS = 100, 5


def load(name, folder):
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name}", folder / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOB, PEER = load("distillation", EXPERIMENTS), load("distillation", EXPERIMENTS / "peers")


def as_torch(model):
    """The same network in PyTorch."""
    sizes = [layer.weight.shape[0] for layer in model.layers] + [10]
    net = PEER.mlp(*sizes)
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    for theirs, ours in zip(linear, model.layers, strict=True):
        theirs.weight.data = torch.tensor(np.asarray(ours.weight.T))
        theirs.bias.data = torch.tensor(np.asarray(ours.bias))
    return net, linear


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_ends_in_the_same_numbers(temperature):
    rows = tuple(a[:ROWS] for a in JOB.digits())
    teacher = fn.fit(JOB.LOSS, JOB.optax.adam(1e-3), epochs=10)(JOB.TEACHER.init(KEY), rows, KEY).model
    student = JOB.STUDENT.init(KEY)
    train, with_logits = JOB.distil(teacher, rows, temperature, epochs=EPOCHS)
    run = train(student, with_logits, KEY)

    net, linear = as_torch(student)
    epochs = []
    for epoch in range(EPOCHS):
        batches = fn.data.batches(rows, 32, KEY, epoch)
        real = ([np.asarray(a)[np.asarray(b.weight) > 0] for a in b.example] for b in batches)
        epochs.append([(torch.tensor(x), torch.tensor(y).long()) for x, y in real])
    losses = PEER.distil(as_torch(teacher)[0], net, epochs, temperature)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-4)
    for theirs, ours in zip(linear, run.model.layers, strict=True):
        np.testing.assert_allclose(theirs.weight.detach().T, ours.weight, atol=1e-4)

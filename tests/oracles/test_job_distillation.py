"""Distillation beside PyTorch, from the same weights over the same batches."""

import jax
import numpy as np
import optax
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches

import funcnet as fn

pytestmark = pytest.mark.slow
KEY = jax.random.key(4)
ROWS, EPOCHS = 100, 5
JOB, PEER = load_job("distillation")


def as_torch(model):
    """The same network in PyTorch."""
    net = PEER["mlp"](*(layer.weight.shape[0] for layer in model.layers), 10)
    for linear, layer in zip(net[::2], model.layers, strict=True):
        copy_linear(linear, layer)
    return net


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_ends_in_the_same_numbers(temperature):
    rows = tuple(a[:ROWS] for a in JOB["digits"]())
    teacher = fn.fit(JOB["LOSS"], optax.adam(1e-3), epochs=10)(JOB["TEACHER"].init(KEY), rows, KEY).model
    student = JOB["STUDENT"].init(KEY)
    train, with_logits = JOB["distil"](teacher, rows, temperature, epochs=EPOCHS)
    run = train(student, with_logits, KEY)

    net = as_torch(student)
    epochs = [list(tensor_batches(rows, 32, KEY, epoch)) for epoch in range(EPOCHS)]
    losses = PEER["distil"](as_torch(teacher), net, epochs, temperature)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-4)
    for linear, layer in zip(net[::2], run.model.layers, strict=True):
        np.testing.assert_allclose(linear.weight.detach().T, layer.weight, atol=1e-4)

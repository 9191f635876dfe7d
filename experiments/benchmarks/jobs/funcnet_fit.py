"""funcnet as its users write it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn
from jobs import Job
from workloads import Weights, Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{}]


def prepare(work: Workload) -> Job:
    train, (model, data, _) = program(work)

    def run(seed: int) -> Any:
        return jax.block_until_ready(train(model, data, jax.random.key(seed)))

    return Job(run, lambda run: weights(work, run.model))


def program(work: Workload) -> tuple[Callable[..., Any], Any]:
    """The training, which compiles itself, and its arguments: model, data, key."""
    if work.classes:
        loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    else:
        loss = fn.losses.supervised(fn.losses.squared_error)
    optimizer = {"adam": optax.adam, "sgd": optax.sgd}[work.optimizer](work.learning_rate)
    train = fn.fit(loss, optimizer, epochs=work.epochs, batch_size=work.batch_size, shuffle=work.shuffle)
    model = _convnet(work) if work.convolutions else _mlp(work)
    return train, (model, fn.data.Dataset((work.x, work.y)), jax.random.key(0))


def _mlp(work: Workload) -> fn.Module:
    *hidden, last = work.layers
    layers = (*(_linear(*layer) for layer in hidden), _linear(*last, axis=work.classes))
    return fn.MLP(work.sizes if work.classes else (*work.sizes[:-1], "scalar"), layers=layers)


def _linear(kernel: np.ndarray, bias: np.ndarray, axis: bool = True) -> fn.Module:
    """A linear layer with these weights; without an output axis it predicts a number."""
    if axis:
        return fn.Linear(*kernel.shape, weight=jnp.array(kernel), bias=jnp.array(bias))
    return fn.Linear(len(kernel), "scalar", weight=jnp.array(kernel[:, 0]), bias=jnp.array(bias[0]))


def _convnet(work: Workload) -> fn.Module:
    *convolutions, last = work.layers
    steps: list[Any] = []
    for kernel, bias in convolutions:
        conv = fn.layers.Conv2d(
            *kernel.shape[2:], 3, padding="VALID", weight=jnp.array(kernel), bias=jnp.array(bias)
        )
        steps += [conv, jax.nn.relu, fn.layers.MaxPool2d(2)]
    return fn.Sequential(*steps, fn.layers.Flatten(), _linear(*last))


def weights(work: Workload, model: Any) -> Weights:
    layers = [layer for layer in model.layers if getattr(layer, "weight", None) is not None]
    parts = [part for layer in layers for part in (layer.weight, layer.bias)]
    return [np.asarray(part).reshape(like.shape) for part, like in zip(parts, work.start, strict=True)]

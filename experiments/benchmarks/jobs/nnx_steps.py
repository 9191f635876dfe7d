"""Flax nnx as in its guides: a Module, an Optimizer and metrics, updated in place by a jitted step.

The guides recommend `nnx.cached_partial` to avoid the time that `nnx.jit` spends on traversing the model.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from jobs import Job
from workloads import Weights, Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{}]


def prepare(work: Workload) -> Job:
    model = _network(work)
    transformation = {"adam": optax.adam, "sgd": optax.sgd}[work.optimizer](work.learning_rate)
    optimizer = nnx.Optimizer(model, transformation, wrt=nnx.Param)
    metrics = nnx.MultiMetric(loss=nnx.metrics.Average("loss"))
    if work.classes:
        metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
    first = jax.tree.map(np.asarray, nnx.state((model, optimizer)))

    def objective(model: Any, x: Any, y: Any) -> Any:
        outputs = model(x)
        if work.classes:
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), outputs
        return ((outputs[:, 0] - y) ** 2).mean(), outputs

    @nnx.jit
    def step(model: Any, optimizer: Any, metrics: Any, x: Any, y: Any) -> None:
        (loss, outputs), grads = nnx.value_and_grad(objective, has_aux=True)(model, x, y)
        if work.classes:
            metrics.update(loss=loss, logits=outputs, labels=y)
        else:
            metrics.update(loss=loss)
        optimizer.update(model, grads)

    step = nnx.cached_partial(step, model, optimizer, metrics)

    def train(seed: int) -> Any:
        rng, n, history = np.random.default_rng(seed), len(work.x), []
        nnx.update((model, optimizer), first)
        for _ in range(work.epochs):
            order = rng.permutation(n) if work.shuffle else np.arange(n)
            for begin in range(0, n, work.batch_size):
                rows = order[begin : begin + work.batch_size]
                step(work.x[rows], work.y[rows])
            history.append(metrics.compute())
            metrics.reset()
        return jax.block_until_ready(nnx.state(model))

    return Job(train, lambda _: _weights(model))


def _network(work: Workload) -> Any:
    rngs, steps = nnx.Rngs(0), []
    pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
    for kernel, bias in work.layers:
        *_, inputs, out = kernel.shape
        if kernel.ndim == 4:
            layer = nnx.Conv(inputs, out, (3, 3), padding="VALID", rngs=rngs)
            steps += [layer, nnx.relu, pool]
        else:
            layer = nnx.Linear(inputs, out, rngs=rngs)
            steps += [layer, nnx.relu]
        layer.kernel[...], layer.bias[...] = kernel, bias
    if work.convolutions:
        steps.insert(-2, lambda x: x.reshape(len(x), -1))
    return nnx.Sequential(*steps[:-1])


def _weights(model: Any) -> Weights:
    layers = [layer for layer in model.layers if isinstance(layer, nnx.Linear | nnx.Conv)]
    return [np.asarray(part[...]) for layer in layers for part in (layer.kernel, layer.bias)]

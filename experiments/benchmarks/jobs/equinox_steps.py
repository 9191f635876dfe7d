"""Equinox as in its documentation: `eqx.filter_jit` around a step, a Python loop, optax.

Batches are sliced from numpy arrays, which is cheaper than indexing JAX arrays outside of jit.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jobs import Job, channels_first
from workloads import Weights, Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{}]


def prepare(work: Workload) -> Job:
    optimizer = {"adam": optax.adam, "sgd": optax.sgd}[work.optimizer](work.learning_rate)
    start = _network(work)
    x = channels_first.images(work)

    def objective(model: Any, x: Any, y: Any) -> Any:
        outputs = jax.vmap(model)(x)
        if not work.classes:
            return jnp.mean((outputs - y) ** 2), jnp.zeros(())
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
        return loss.mean(), jnp.sum(outputs.argmax(-1) == y).astype(jnp.float32)

    @eqx.filter_jit(donate="all-except-first")
    def step(batch: Any, model: Any, state: Any, seen: Any) -> Any:
        x, y = batch
        (loss, right), grads = eqx.filter_value_and_grad(objective, has_aux=True)(model, x, y)
        updates, state = optimizer.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        seen = seen + jnp.stack([loss * len(y), right])
        return eqx.apply_updates(model, updates), state, seen

    init = eqx.filter_jit(optimizer.init)

    def train(seed: int) -> Any:
        rng, n = np.random.default_rng(seed), len(x)
        model = jax.tree.map(lambda leaf: leaf.copy() if eqx.is_array(leaf) else leaf, start)
        state = init(eqx.filter(model, eqx.is_inexact_array))
        history = []
        for _ in range(work.epochs):
            order = rng.permutation(n) if work.shuffle else np.arange(n)
            seen = jnp.zeros(2)
            for first in range(0, n, work.batch_size):
                rows = order[first : first + work.batch_size]
                model, state, seen = step((x[rows], work.y[rows]), model, state, seen)
            history.append(seen / n)
        jax.block_until_ready((eqx.filter(model, eqx.is_array), history))
        return model

    return Job(train, lambda model: _weights(work, model))


def _network(work: Workload) -> Any:
    steps: list[Any] = []
    for weight, bias in channels_first.turned(work):
        if weight.ndim == 4:
            steps += [_conv(weight, bias), eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2)]
        else:
            steps += [_linear(weight, bias, scalar=not work.classes), eqx.nn.Lambda(jax.nn.relu)]
    if work.convolutions:
        steps.insert(-2, eqx.nn.Lambda(jnp.ravel))
    return eqx.nn.Sequential(steps[:-1])


def _linear(weight: np.ndarray, bias: np.ndarray, scalar: bool) -> Any:
    out = "scalar" if scalar and len(bias) == 1 else len(bias)
    layer = eqx.nn.Linear(weight.shape[1], out, key=jax.random.key(0))
    return eqx.tree_at(lambda made: (made.weight, made.bias), layer, (jnp.array(weight), jnp.array(bias)))


def _conv(weight: np.ndarray, bias: np.ndarray) -> Any:
    out, channels, *_ = weight.shape
    layer = eqx.nn.Conv2d(channels, out, 3, key=jax.random.key(0))
    arrays = jnp.array(weight), jnp.array(bias[:, None, None])
    return eqx.tree_at(lambda made: (made.weight, made.bias), layer, arrays)


def _weights(work: Workload, model: Any) -> Weights:
    layers = [layer for layer in model.layers if hasattr(layer, "weight")]
    arrays = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in layers]
    return channels_first.turned_back(work, arrays)

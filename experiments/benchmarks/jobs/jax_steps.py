"""Hand-written JAX as most people write it: a jitted step with donated state, called from a Python loop.

The rows stay on the device and each step gathers its batch. The short last batch has its own shape and so
its own compiled program. The loss and accuracy of an epoch are accumulated on the device; the host never
waits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jobs import Job, jax_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{}]


def prepare(work: Workload) -> Job:
    optimizer, n = jax_network.optimizer(work), len(work.x)
    x, y = jnp.asarray(work.x), jnp.asarray(work.y)

    def objective(layers: Any, x: Any, y: Any) -> Any:
        loss, right = jax_network.losses(jax_network.outputs(layers, x), y)
        return loss.mean(), jnp.stack([loss.sum(), right.sum()])

    def step(carry: Any, x: Any, y: Any, rows: Any) -> Any:
        layers, state, seen = carry
        grads, sums = jax.grad(objective, has_aux=True)(layers, x[rows], y[rows])
        updates, state = optimizer.update(grads, state, layers)
        return optax.apply_updates(layers, updates), state, seen + sums

    step, init = jax.jit(step, donate_argnums=0), jax.jit(optimizer.init)

    def train(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        layers = jax_network.start(work)
        state, history = init(layers), []
        for _ in range(work.epochs):
            order = (rng.permutation(n) if work.shuffle else np.arange(n)).astype(np.int32)
            seen = jnp.zeros(2)
            for first in range(0, n, work.batch_size):
                rows = order[first : first + work.batch_size]
                layers, state, seen = step((layers, state, seen), x, y, rows)
            history.append(seen / n)
        return jax.block_until_ready((layers, history))

    return Job(train, lambda result: jax_network.weights(result[0]))

"""The best hand-written JAX: the whole run as one scan over epochs of a scan over batches.

It does what a complete loop must do: it shuffles each epoch, pads and masks the short last batch, and
records loss and accuracy of each epoch. Variants: orders from the keyed bijection (no sort) or from
`jax.random.permutation`; not unrolled or unrolled by four (XLA copies the carry in each iteration).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jobs import Job, jax_network
from workloads import Workload


def variants(work: Workload) -> list[dict[str, Any]]:
    orders = ("bijection", "permutation") if work.shuffle else ("rows",)
    return [{"order": order, "unroll": unroll} for order in orders for unroll in (1, 4)]


def prepare(work: Workload, **variant: Any) -> Job:
    train, (layers, x, y, _) = program(work, **variant)
    compiled = jax.jit(train)

    def run(seed: int) -> Any:
        return jax.block_until_ready(compiled(layers, x, y, jax.random.key(seed)))

    return Job(run, lambda result: jax_network.weights(result[0]))


def program(
    work: Workload, order: str = "bijection", unroll: int = 1, native: bool = False
) -> tuple[Callable[..., Any], Any]:
    """The training, to be compiled, and its arguments: layers, x, y, key.

    `native` takes XLA's own convolutions, for GPUs.
    """
    optimizer, n, size = jax_network.optimizer(work), len(work.x), min(work.batch_size, len(work.x))
    steps = -(-n // size)
    draw = ORDERS[order if work.shuffle else "rows"]

    def objective(layers: Any, x: Any, y: Any, weight: Any) -> Any:
        loss, right = jax_network.losses(jax_network.outputs(layers, x, native), y)
        sums = jnp.stack([jnp.sum(loss * weight), jnp.sum(right * weight), jnp.sum(weight)])
        return sums[0] / sums[2], sums

    def train(layers: Any, x: Any, y: Any, key: Any) -> Any:
        def epoch(carry: Any, number: Any) -> Any:
            position = jnp.arange(steps * size).reshape(steps, size)
            rows = draw(jax.random.fold_in(key, number), n)(jnp.minimum(position, n - 1))
            weights = (position < n).astype(jnp.float32)

            def step(carry: Any, batch: Any) -> Any:
                (layers, state, sums), (row, weight) = carry, batch
                xs, ys = (a.at[row].get(mode="promise_in_bounds") for a in (x, y))
                grads, seen = jax.grad(objective, has_aux=True)(layers, xs, ys, weight)
                updates, state = optimizer.update(grads, state, layers)
                return (optax.apply_updates(layers, updates), state, sums + seen), None

            first = (*carry, jnp.zeros(3))
            (layers, state, sums), _ = jax.lax.scan(step, first, (rows, weights), unroll=unroll)
            return (layers, state), sums[:2] / sums[2]

        epochs = jnp.arange(work.epochs)
        (layers, _), history = jax.lax.scan(epoch, (layers, optimizer.init(layers)), epochs)
        return layers, history

    key = jax.random.key(0)
    return train, (jax_network.start(work), jnp.asarray(work.x), jnp.asarray(work.y), key)


def _bijection(key: Any, n: int) -> Callable[[Any], Any]:
    """Position to row by swap-or-not: a round swaps x and (k - x) mod n depending on a hash of both."""
    count = 12 + (n - 1).bit_length()
    rounds = jax.random.bits(key, (count, 3), "uint32")

    def order(position: Any) -> Any:
        x = position.astype(jnp.uint32)
        for i in range(count):
            pairing, multiplier, offset = rounds[i, 0] % jnp.uint32(n), rounds[i, 1] | 1, rounds[i, 2]
            partner = jnp.where(pairing >= x, pairing - x, pairing + jnp.uint32(n) - x)
            swap = (multiplier * jnp.maximum(x, partner) + offset) >> 31
            x = jnp.where(swap == 1, partner, x)
        return x.astype(jnp.int32)

    return order


def _permutation(key: Any, n: int) -> Callable[[Any], Any]:
    rows = jax.random.permutation(key, n)
    return lambda position: rows[position]


ORDERS = {
    "bijection": _bijection,
    "permutation": _permutation,
    "rows": lambda key, n: lambda position: position,
}

"""What does `fit` cost beside a bare scan? MLP 4-16-3 on iris, batch 16, Adam, warm.

    make bench-steps

Both do the same work: shuffle each epoch by the keyed bijection, gather, mask the short last batch,
loss and accuracy of each epoch, gradient, Adam. The bare scan is written as one would write it for
this one job: no checks, no module, no dataset. `fit` also makes sure that loss and gradient are finite
before each update (on_nan="stop"); the second bare scan has that guard too.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import optax

import funcnet as fn
from funcnet.data._shuffle import epoch_order  # the order that fit uses, so that both end alike

EPOCHS, BATCH = 200, 16


def bare(optimizer, x, y, guarded):
    n = len(x)
    steps = -(-n // BATCH)

    def forward(params, x):
        (w1, b1), (w2, b2) = params
        return jax.nn.relu(x @ w1 + b1) @ w2 + b2

    def objective(params, x, y, weight):
        logits = forward(params, x)
        chosen = jnp.where(jnp.arange(3) == y[:, None], logits, 0).sum(-1)
        loss = jnp.sum((jax.nn.logsumexp(logits, axis=-1) - chosen) * weight)
        right = jnp.sum((jnp.argmax(logits, -1) == y) * weight)
        return loss / weight.sum(), jnp.stack([loss, right, weight.sum()])

    def train(params, x, y, key):
        def epoch(carry, number):
            order = epoch_order(key, number, n)
            position = jnp.arange(steps * BATCH).reshape(steps, BATCH)
            rows, weights = order(jnp.minimum(position, n - 1)), (position < n).astype(float)

            def step(carry, batch):
                (params, state, sums), (row, weight) = carry, batch
                grads, seen = jax.grad(objective, has_aux=True)(params, x[row], y[row], weight)

                def update():
                    updates, moved = optimizer.update(grads, state, params)
                    return optax.apply_updates(params, updates), moved

                if guarded:
                    leaves = [jnp.isfinite(g).ravel() for g in jax.tree.leaves(grads)]
                    finite = jnp.isfinite(seen[0]) & jnp.all(jnp.concatenate(leaves))
                    params, state = jax.lax.cond(finite, update, lambda: (params, state))
                else:
                    params, state = update()
                return (params, state, sums + seen), None

            (params, state, sums), _ = jax.lax.scan(step, (*carry, jnp.zeros(3)), (rows, weights))
            return (params, state), sums[:2] / sums[2]

        return jax.lax.scan(epoch, (params, optimizer.init(params)), jnp.arange(EPOCHS))

    return jax.jit(train)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=31)
    repeats = parser.parse_args().repeats

    x, y = fn.data.load("iris").data[:]
    optimizer = optax.adam(1e-2)
    model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
    params = [(layer.weight, layer.bias) for layer in model.layers]
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    key = jax.random.key(1)
    plain, guarded = bare(optimizer, x, y, guarded=False), bare(optimizer, x, y, guarded=True)
    train, unguarded = (
        fn.fit(loss, optimizer, epochs=EPOCHS, batch_size=BATCH, on_nan=on_nan)
        for on_nan in ("stop", "ignore")
    )
    data = fn.data.Dataset((x, y))
    jobs = {
        "bare scan": lambda: plain(params, x, y, key)[1][-1, 0],
        "bare scan, guarded": lambda: guarded(params, x, y, key)[1][-1, 0],
        "fit": lambda: train(model, data, key).history["loss"][-1],
        "fit, on_nan='ignore'": lambda: unguarded(model, data, key).history["loss"][-1],
    }
    for name, job in jobs.items():
        began = time.perf_counter()
        first, final = _seconds(job, began), float(job())
        print(f"{name:22} first call {first:.2f} s, final loss {final:.6f}")

    times = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            times[name].append(_seconds(job, time.perf_counter()))
    steps = EPOCHS * -(-len(x) // BATCH)
    base = statistics.median(times["bare scan"])
    print(f"\n{repeats} interleaved repeats, medians")
    print(f"{'':22} {'µs a step':>10} {'steps/s':>10} {'ratio':>7}")
    for name, seen in times.items():
        median = statistics.median(seen)
        print(f"{name:22} {median / steps * 1e6:10.2f} {steps / median:10,.0f} {median / base:7.3f}")


def _seconds(job, began):
    jax.block_until_ready(job())
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

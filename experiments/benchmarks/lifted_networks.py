"""What does a network of flax cost in `fit`, beside a hand-written loop and beside a network of funcnet?

    python experiments/benchmarks/lifted_networks.py

An MLP of flax linen on the digits: `fit` beside a scan over the same `module.apply`, with the same epochs,
batches and optimizer, both compiled whole; and an ensemble of it beside an ensemble of the same MLP of
funcnet. All are warm and take turns, each after a rest; the medians are compared.
"""

import argparse
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

REST, BATCH = 0.3, 128
OPTIMIZER = optax.adam(1e-3)
LOSS = fn.losses.supervised(fn.losses.cross_entropy)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x)))


def seconds(function):
    time.sleep(REST)
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def hand_written(module, epochs):
    """Epochs over shuffled whole batches, as one program: what a user of flax would write at best."""

    @jax.jit
    def run(params, x, y, key):
        steps = len(x) // BATCH

        def loss(params, x, y):
            return optax.softmax_cross_entropy_with_integer_labels(module.apply(params, x), y).mean()

        def one_epoch(carry, key):
            order = jax.random.permutation(key, len(x))[: steps * BATCH].reshape(steps, BATCH)

            def one_step(carry, rows):
                params, opt_state = carry
                value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
                updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state), value

            carry, values = jax.lax.scan(one_step, carry, order)
            return carry, values.mean()

        return jax.lax.scan(one_epoch, (params, OPTIMIZER.init(params)), jax.random.split(key, epochs))

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    pixels, labels = map(np.asarray, fn.data.load("digits").data[:])
    whole = len(labels) // BATCH * BATCH  # whole batches only, so that both make the same steps
    x, y = jnp.asarray(pixels[:whole] / 16), jnp.asarray(labels[:whole])
    data, key, module = fn.data.Dataset((x, y)), jax.random.key(0), MLP()
    net = fn.interop.from_linen(module, x[0])
    model, params = net.init(key), module.init(key, x[:1])
    train = fn.fit(LOSS, OPTIMIZER, epochs=arguments.epochs, batch_size=BATCH)
    scan = hand_written(module, arguments.epochs)
    ensemble = fn.study.ensemble(train, arguments.members)
    ours = fn.MLP((64, 128, 10))
    calls = {
        "fit of linen": lambda: train(model, data, key).history["loss"],
        "hand-written scan": lambda: scan(params, x, y, key),
        "ensemble of linen": lambda: ensemble(net, data, key).runs.history["loss"],
        "ensemble of funcnet": lambda: ensemble(ours, data, key).runs.history["loss"],
    }
    for call in calls.values():
        jax.block_until_ready(call())
    turns = [{name: seconds(call) for name, call in calls.items()} for _ in range(arguments.turns)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in calls}
    steps = arguments.epochs * (whole // BATCH)
    for name, value in medians.items():
        members = arguments.members if "ensemble" in name else 1
        print(f"{name:20} {1e3 * value:8.1f} ms  {1e6 * value / steps / members:7.1f} µs a step and model")
    print(f"fit / scan: {medians['fit of linen'] / medians['hand-written scan']:.2f}")
    print(f"ensemble, linen / funcnet: {medians['ensemble of linen'] / medians['ensemble of funcnet']:.2f}")


if __name__ == "__main__":
    main()

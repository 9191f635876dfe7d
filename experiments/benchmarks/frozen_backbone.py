"""What does a fit with a frozen backbone cost beside its parts?

    python experiments/benchmarks/frozen_backbone.py

The parts are the forward pass of the backbone over the same number of batches, in one compiled loop, and a
fit of the head alone on features computed before. All three are warm; they take turns, each after a rest,
and the medians are compared: the fit should cost at most 1.1 times the sum of its parts.
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

REST, BATCH = 0.3, 128
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
DENSE = fn.Sequential(
    fn.Linear(64, 512), fn.layers.BatchNorm(512), jax.nn.relu, fn.Linear(512, 512), jax.nn.relu
)
IMAGES = fn.Sequential(
    fn.layers.Conv2d(1, 16, 3),
    fn.layers.BatchNorm(16),
    jax.nn.relu,
    fn.layers.Conv2d(16, 32, 3),
    fn.layers.BatchNorm(32),
    jax.nn.relu,
    fn.layers.MaxPool2d(2),
    fn.layers.Flatten(3),
)


class Net(fn.Module):
    backbone: fn.Module
    head: fn.Module = fn.MLP((512, 128, 10))

    def __call__(self, x, key=None):
        return self.head(self.backbone(x, key=key))


def seconds(function):
    time.sleep(REST)
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def forward(backbone, num_batches):
    """A function that runs the backbone on batches of random rows, in one compiled loop."""

    @jax.jit
    def run(x, key):
        def one_batch(total, key):
            # The sum of the features, not of their entries: XLA would then not make the array that a head
            # reads, which is a third of the work of these convolutions.
            rows = jax.random.randint(key, (BATCH,), 0, len(x))
            return total + jax.vmap(backbone)(x[rows]), None

        features = jax.eval_shape(jax.vmap(backbone), x[:BATCH])
        zeros = jnp.zeros(features.shape, features.dtype)
        return jax.lax.scan(one_batch, zeros, jax.random.split(key, num_batches))[0]

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=9)
    arguments = parser.parse_args()
    pixels, labels = map(np.asarray, fn.data.load("digits").data[:])
    key, steps = jax.random.key(0), -(-len(labels) // BATCH)
    print("backbone  fit, ms  forward, ms  head, ms  fit / (forward + head)  all trainable, ms")
    for name, backbone, shape in (("dense", DENSE, (64,)), ("images", IMAGES, (8, 8, 1))):
        x = jnp.asarray(pixels.reshape(-1, *shape) / 16)
        model = fn.freeze(Net(backbone).init(key), "backbone")
        features = fn.predict(model.backbone, x)
        rows, of_head = fn.data.Dataset((x, labels)), fn.data.Dataset((features, labels))
        train = fn.fit(LOSS, optax.adam(1e-3), epochs=arguments.epochs, batch_size=BATCH)
        loop = forward(model.backbone, arguments.epochs * steps)
        unfrozen = fn.unfreeze(model)
        turns = {
            "fit": functools.partial(train, model, rows, key),
            "forward": functools.partial(loop, x, key),
            "head": functools.partial(train, model.head, of_head, key),
            "all": functools.partial(train, unfrozen, rows, key),
        }
        for turn in turns.values():
            jax.block_until_ready(turn())
        times = {what: [] for what in turns}
        for _ in range(arguments.turns):
            for what, turn in turns.items():
                times[what].append(seconds(turn))
        ms = {what: 1000 * statistics.median(values) for what, values in times.items()}
        ratio = ms["fit"] / (ms["forward"] + ms["head"])
        print(
            f"{name:8s}  {ms['fit']:7.1f}  {ms['forward']:11.1f}  {ms['head']:8.1f}  {ratio:22.3f}  "
            f"{ms['all']:17.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

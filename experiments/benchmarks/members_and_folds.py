"""What does one fit of many members and folds cost beside as many fits one after another?

    python experiments/benchmarks/members_and_folds.py

A table of classes, networks of 3 x 256 on batches of 256. Both ways are warm: their programs are compiled.
The rate is that of the floating point operations of the networks' products alone, forward and backward;
the peak is that of a product of 1,024 x 1,024 matrices on all cores, and what XLA reaches in a loop of
products of the networks' shapes stands below it.
"""

import argparse
import concurrent.futures
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import StratifiedKFold

from funcnet.sklearn import MLPClassifier

REST = 0.3


def seconds(function):
    time.sleep(REST)
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_rate(size=1024, repeats=40):
    """Floating point operations a second of a matrix product."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    best = min(seconds(lambda: product(a).block_until_ready()) for _ in range(repeats))
    return 2 * size**3 / best


def rate_of_steps_products(size=256, repeats=400):
    """The same of products of the step's shapes and nothing else: a loop of them on each core, as runs are.

    Forward, with respect to the inputs, and with respect to the weights: three products of 256 x 256.
    """

    def products(_, arrays):
        h, w = arrays
        out = h @ w
        return out @ w.T * 1e-3, h.T @ out * 1e-3

    loop = jax.jit(lambda h, w: jax.lax.fori_loop(0, repeats, products, (h, w)))
    threads = os.cpu_count() or 1
    arrays = [tuple(jnp.full((size, size), 1e-2 * (i + 1)) for _ in range(2)) for i in range(threads)]

    def run(i):
        jax.block_until_ready(loop(*arrays[i]))

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
        best = min(seconds(lambda: list(pool.map(run, range(threads)))) for _ in range(9))
    return threads * repeats * 3 * 2 * size**3 / best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--columns", type=int, default=60)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    x, y = make_classification(given.rows, given.columns, n_informative=20, random_state=0)
    folds = list(StratifiedKFold(given.folds, shuffle=True, random_state=0).split(x, y))
    sizes = {"hidden_layer_sizes": (256,) * 3, "batch_size": 256, "max_iter": given.epochs}

    def together():
        MLPClassifier(members=given.members, cv=folds, **sizes).fit(x, y)

    def alone():
        for member in range(given.members):
            for fold in folds:
                MLPClassifier(members=1, cv=[fold], random_state=member, **sizes).fit(x, y)

    first = seconds(together)
    MLPClassifier(members=1, cv=[folds[0]], **sizes).fit(x, y)
    rounds = [(seconds(together), seconds(alone)) for _ in range(given.rounds)]
    one, many = np.median(rounds, axis=0)
    runs = given.members * given.folds
    steps = runs * given.epochs * -(-len(folds[0][0]) // 256)
    inputs = 4 * given.columns  # each number enters with three embeddings of it
    flops = steps * 6 * 256 * (inputs * 256 + 2 * 256 * 256 + 2 * 256)
    peak = peak_rate()
    print(f"{runs} runs of {given.epochs} epochs: one fit {one:.2f} s, one after another {many:.2f} s")
    print(f"ratio {many / one:.2f} (each of {given.rounds} rounds: {[round(b / a, 2) for a, b in rounds]})")
    print(f"the first fit {first:.2f} s; products at {flops / one / 1e9:.0f} GFLOP/s of {peak / 1e9:.0f}")
    print(f"a loop of nothing but such products: {rate_of_steps_products() / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()

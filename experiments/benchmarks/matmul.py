"""How near does a training come to the rate of XLA's fastest product of square matrices?

    make bench
    .venv-bench/bin/python experiments/benchmarks/matmul.py

`fit` of (c) for one epoch of 19,968 rows, which are 156 whole batches, and products of square matrices, in
turn in one process. The operations of the network's products are counted in two ways: those that are
carried out; and six for each weight and row, as is usual, which counts the gradient by the pixels, a
quarter of the whole, though nobody needs it. Medians; ratios round by round.
"""

import argparse
import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

import results
from jobs import funcnet_fit
from workloads import Workload, fashion

FIT = "fit, operations carried out"
BATCHES = 156
SIDES = {512: 240, 1024: 30, 2048: 4}
"""Side of a square matrix, and how many products are timed together: about as long as the batches take."""


def products(side: int, repeats: int) -> Callable[[int], Any]:
    """To be called with a seed, as a job's training is."""
    a, b = jax.random.normal(jax.random.key(0), (2, side, side))
    product = jax.jit(lambda a, b: a @ b)

    def run(_: int) -> None:
        for _ in range(repeats):
            product(a, b).block_until_ready()

    return run


def operations(work: Workload) -> tuple[int, int]:
    """Of the products of one step of a network of dense layers: as carried out, and as usually counted."""
    weights = [kernel.size for kernel, _ in work.layers]
    forward = 2 * work.batch_size * sum(weights)
    return 3 * forward - 2 * work.batch_size * weights[0], 3 * forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    settings = parser.parse_args()
    work = fashion()
    rows = BATCHES * work.batch_size
    work = dataclasses.replace(work, epochs=1, x=work.x[:rows], y=work.y[:rows])
    done, usual = operations(work)
    # Name: what runs, and how many operations that is.
    squares: dict[str, tuple[Callable[[int], Any], int]] = {
        f"product, {side} x {side}": (products(side, repeats), 2 * side**3 * repeats)
        for side, repeats in SIDES.items()
    }
    runs = squares | {FIT: (funcnet_fit.prepare(work).train, done * work.steps)}

    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run(0)
    for seed in range(settings.rounds):
        for name, (run, count) in random.Random(seed).sample(list(runs.items()), len(runs)):
            began = time.perf_counter()
            run(seed)
            rates[name].append(count / (time.perf_counter() - began) / 1e9)
    rates["fit, as usually counted"] = [rate * usual / done for rate in rates[FIT]]

    fastest = max(squares, key=lambda name: statistics.median(rates[name]))
    print("| | GFLOP/s | of the fastest product |\n|---|---:|---:|")
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rate, rates[fastest], strict=True))
        print(f"| {name} | {statistics.median(rate):.0f} | {ratio:.0%} |")
    print(f"\n{results.machine()}")


if __name__ == "__main__":
    main()

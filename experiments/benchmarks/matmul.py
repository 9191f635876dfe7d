"""How near does a training come to the rate of the fastest matrix product?

    make bench
    python experiments/benchmarks/matmul.py

`fit` of (c) over its first 20,000 rows, and products of square matrices, in turn in one process. The
network's operations are counted in two ways: six for each weight and row, as is usual, and those that are
carried out, which leave out the gradient by the pixels.
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

SIDES = 512, 1024, 2048
REPEATS = 10  # products of one measurement


def squares(side: int) -> Callable[[int], Any]:
    a, b = jax.random.normal(jax.random.key(0), (2, side, side))
    product = jax.jit(lambda a, b: a @ b)
    return lambda _: [product(a, b).block_until_ready() for _ in range(REPEATS)]


def operations(work: Workload) -> tuple[int, int]:
    """Of one step, as usually counted and as carried out."""
    weights = [kernel.size for kernel, _ in work.layers]
    forward = 2 * work.batch_size * sum(weights)
    return 3 * forward, 3 * forward - 2 * work.batch_size * weights[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    settings = parser.parse_args()
    work = fashion()
    work = dataclasses.replace(work, epochs=1, x=work.x[:20_000], y=work.y[:20_000])
    usual, done = operations(work)
    jobs = {f"product of {side} x {side}": (squares(side), 2 * side**3 * REPEATS) for side in SIDES}
    fit = "fit, six operations a weight and row"
    jobs[fit] = funcnet_fit.prepare(work).train, usual * work.steps

    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for run, _ in jobs.values():
        run(0)
    for seed in range(settings.rounds):
        for name, (run, count) in random.Random(seed).sample(list(jobs.items()), len(jobs)):
            began = time.perf_counter()
            run(seed)
            rates[name].append(count / (time.perf_counter() - began) / 1e9)
    rates["fit, operations carried out"] = [rate * done / usual for rate in rates[fit]]

    median = {name: statistics.median(of) for name, of in rates.items()}
    peak = max(rate for name, rate in median.items() if name.startswith("product"))
    print("| | GFLOP/s, median | most | of the fastest product |\n|---|---:|---:|---:|")
    for name, rate in median.items():
        print(f"| {name} | {rate:.0f} | {max(rates[name]):.0f} | {rate / peak:.0%} |")
    print(f"\n{results.machine()}")


if __name__ == "__main__":
    main()

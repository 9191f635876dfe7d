"""How close does training come to the rate of the fastest product of square matrices?

    make bench
    .venv-bench/bin/python experiments/benchmarks/matmul.py

`fit` of (c) for one epoch of 19,968 rows, which are 156 whole batches, and products of square matrices;
and, with PyTorch's library, the same square products and the eight products of a step. All take turns in
one process, with a rest before each. The operations of the network are counted in two ways: those that
are performed; and the usual six per weight and row, which include the gradient with respect to the
pixels, a quarter of all, although it is not needed. Medians; ratios to the fastest square product of XLA
in the same round.
"""

import argparse
import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import results
from jobs import funcnet_fit
from worker import REST
from workloads import Workload, fashion

FIT = "fit, performed operations"
BATCHES = 156
SIDES = {512: 240, 1024: 30, 2048: 4}
"""Side of a square matrix, and how many products are timed together: about as long as the batches take."""

FORWARD, WEIGHT, ROWS = (lambda a, b: a @ b), (lambda a, b: a.T @ b), (lambda a, b: a @ b.T)
Product = tuple[Callable[[Any, Any], Any], np.ndarray, np.ndarray]


def of_a_step(work: Workload) -> list[Product]:
    """The products of one step of a network of dense layers."""
    draw, products = np.random.default_rng(0), []
    for number, (kernel, _) in enumerate(work.layers):
        x, cotangent = (draw.normal(size=(work.batch_size, n)).astype(np.float32) for n in kernel.shape)
        triple = (FORWARD, x, kernel), (WEIGHT, x, cotangent), (ROWS, cotangent, kernel)
        products += triple[: 3 if number else 2]
    return products


def square(side: int) -> list[Product]:
    a, b = np.random.default_rng(0).normal(size=(2, side, side)).astype(np.float32)
    return [(FORWARD, a, b)]


def by_xla(products: list[Product], repeats: int) -> Callable[[int], Any]:
    """A function of a seed, like the `train` of a job."""
    compiled = [(jax.jit(product), jnp.asarray(a), jnp.asarray(b)) for product, a, b in products]

    def run(_: int) -> None:
        for _ in range(repeats):
            for product, a, b in compiled:
                product(a, b).block_until_ready()

    return run


def by_torch(products: list[Product], repeats: int) -> Callable[[int], Any]:
    import torch  # not installed with the tests

    tensors = [(product, torch.tensor(a), torch.tensor(b)) for product, a, b in products]

    def run(_: int) -> None:
        for _ in range(repeats):
            for product, a, b in tensors:
                product(a, b)

    return run


def operations(work: Workload) -> tuple[int, int]:
    """Operations of one step of a network of dense layers: performed, and as usually counted."""
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
    performed, usual = operations(work)
    # By name: the function, and its number of operations.
    squares = {
        f"product, {side} x {side}": (by_xla(square(side), repeats), 2 * side**3 * repeats)
        for side, repeats in SIDES.items()
    }
    runs = squares | {
        **{
            f"{name}, PyTorch": (by_torch(square(side), repeats), 2 * side**3 * repeats)
            for (side, repeats), name in zip(SIDES.items(), squares, strict=True)
        },
        "products of a step, PyTorch": (by_torch(of_a_step(work), BATCHES), performed * BATCHES),
        FIT: (funcnet_fit.prepare(work).train, performed * work.steps),
    }

    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run, _ in runs.values():
        run(0)
    for seed in range(settings.rounds):
        for name, (run, count) in random.Random(seed).sample(list(runs.items()), len(runs)):
            time.sleep(REST)
            began = time.perf_counter()
            run(seed)
            rates[name].append(count / (time.perf_counter() - began) / 1e9)
    rates["fit, usual count"] = [rate * usual / performed for rate in rates[FIT]]

    fastest = max(squares, key=lambda name: statistics.median(rates[name]))
    print("| | GFLOP/s | relative to XLA's fastest product |\n|---|---:|---:|")
    for name, rate in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rate, rates[fastest], strict=True))
        print(f"| {name} | {statistics.median(rate):.0f} | {ratio:.0%} |")
    print(f"\n{results.machine()}")


if __name__ == "__main__":
    main()

"""How long does `fit` take to compile, by the number of steps, and compared with a bare scan?

    make bench
    python experiments/benchmarks/compile_time.py --repeats 5

The MLP on iris (10 steps an epoch) for 1, 100 and 10,000 epochs: trace, lower and compile without
running, every time in a new process. The bounds: the same at every length, and at most 1.3 times the bare
scan.
"""

import argparse
import dataclasses
import importlib
import multiprocessing
import statistics
import sys
import time

import results
import workloads
from jobs import BASE, PEERS
from workloads import Workload

EPOCHS = (1, 100, 10_000)
ALLOWED = 1.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    work = workloads.iris()
    cases = [(peer, epochs) for epochs in EPOCHS for peer in (BASE, "funcnet_fit")]
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(repeats):
            for peer, epochs in cases:
                times[peer, epochs].append(
                    pool.apply(seconds, (peer, dataclasses.replace(work, epochs=epochs)))
                )

    median = {case: statistics.median(values) for case, values in times.items()}
    ratios = {epochs: median["funcnet_fit", epochs] / median[BASE, epochs] for epochs in EPOCHS}
    print(f"| steps | {PEERS[BASE]}, s | funcnet.fit, s | ratio |\n|---:|---:|---:|---:|")
    for epochs in EPOCHS:
        bare, ours = (f"{median[peer, epochs]:.3f}" for peer in (BASE, "funcnet_fit"))
        print(f"| {epochs * work.steps // work.epochs:,} | {bare} | {ours} | {ratios[epochs]:.2f} |")
    print(f"\nMedians of {repeats} processes each. {results.machine()}")
    return 1 if max(ratios.values()) > ALLOWED else 0


def seconds(peer: str, work: Workload) -> float:
    """The seconds for tracing, lowering and compiling a whole run."""
    import jax

    function, arguments = importlib.import_module(f"jobs.{peer}").program(work)
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))  # initializes the compiler
    began = time.perf_counter()
    jax.jit(function).lower(*arguments).compile()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())

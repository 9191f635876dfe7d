"""How long do a thousand runs take, and how long does one take with other libraries?

    make bench
    python experiments/benchmarks/ensembles.py --repeats 5

Workload (a), the MLP on iris: 1,000 networks, each with its own initial weights and order of rows, in one
program of funcnet's on all cores and with `torch.func`; and one network with PyTorch and with Lightning.
They take turns, round after round, as in `peers.py`.
"""

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
from pathlib import Path

import results
import workloads
from jobs import MEMBERS
from worker import Worker

NAMES = {
    "funcnet_ensemble": f"fn.study.ensemble, {MEMBERS:,} networks",
    "torch_ensemble": f"torch.func, {MEMBERS:,} networks",
    "torch_loop": "PyTorch, one network",
    "lightning_fit": "Lightning, one network",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(NAMES))
    settings = parser.parse_args()
    work = workloads.iris()
    print(results.machine())
    seconds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = work.save(Path(folder))
        workers = {peer: stack.enter_context(Worker(peer, file)) for peer in settings.peers}
        for peer, worker in workers.items():
            for number, variant in enumerate(worker.variants()):
                print(f"{NAMES[peer]} {variant or ''}: first {worker.prepare(number):.1f} s", flush=True)
                seconds[peer, number] = []
        for seed in range(settings.repeats):
            for peer, number in random.Random(seed).sample(list(seconds), len(seconds)):
                seconds[peer, number].append(workers[peer].train(number, seed)[0])
    best = {}
    for (peer, _), times in seconds.items():
        median = statistics.median(times)
        best[peer] = min(best.get(peer, median), median)
    print("\n| | whole run, s | µs a model-step | relative to one Lightning run |\n|---|---:|---:|---:|")
    for peer, least in best.items():
        models = MEMBERS if peer.endswith("ensemble") else 1
        ratio = f"{least / best['lightning_fit']:.2f}" if "lightning_fit" in best else "-"
        print(f"| {NAMES[peer]} | {least:.2f} | {least / work.steps / models * 1e6:.2f} | {ratio} |")
    print(f"\nMedians of {settings.repeats} rounds, {work.steps:,} steps. {results.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

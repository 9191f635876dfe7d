"""What does a member of an ensemble cost, beside trainings one after another?

    make bench
    python experiments/benchmarks/members.py --workloads b

`fn.study.ensemble` over all cores, and `fit` alone, of the same network, data and settings: (a) a thousand
MLPs on iris, (b) a hundred MLPs on digits, (d) eight convolutional networks on 2,000 images. In turn, in
one process each, since the number of devices is chosen before JAX starts.
"""

import argparse
import contextlib
import dataclasses
import statistics
import subprocess
import sys
import time

import results
from workloads import WORKLOADS, Workload

MEMBERS = {"a": 1000, "b": 100, "d": 8}
SPREAD = {"a", "b"}
"""Over both processors. A step of (d) uses both by itself, and members are trained one after another."""


def shortened(name: str) -> Workload:
    work = WORKLOADS[name]()
    if name != "d":
        return work
    return dataclasses.replace(work, x=work.x[:2000], y=work.y[:2000], epochs=1)


def one(name: str, way: str, rounds: int) -> None:
    """Print the seconds that a model's step takes, one line a round."""
    import jax

    import funcnet as fn

    spread = way == "together" and name in SPREAD
    if spread:
        fn.mesh.cpu_devices()
    from jobs import funcnet_fit

    work = shortened(name)
    train, (model, data, _) = funcnet_fit.program(work)
    members = MEMBERS[name] if way == "together" else 1
    many = fn.study.ensemble(train, members, average="classes")

    def run(seed: int) -> None:
        key = jax.random.key(seed)
        with fn.mesh.use() if spread else contextlib.nullcontext():
            jax.block_until_ready((many if way == "together" else train)(model, data, key))

    run(0)
    for seed in range(rounds):
        began = time.perf_counter()
        run(seed)
        print((time.perf_counter() - began) / members / work.steps, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=list(MEMBERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.one:
        one(*settings.one, settings.rounds)
        return 0
    print(f"{results.machine()}\n\n| | members | µs a model-step together | alone | ratio |")
    print("|---|---:|---:|---:|---:|")
    for name in settings.workloads:
        seconds: dict[str, list[float]] = {"together": [], "alone": []}
        for _ in range(2):
            for way, found in seconds.items():
                command = [sys.executable, __file__, "--one", name, way, "--rounds", str(settings.rounds)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found += map(float, done.stdout.split())
        together, alone = (statistics.median(seconds[way]) * 1e6 for way in seconds)
        print(
            f"| {name} | {MEMBERS[name]:,} | {together:.2f} | {alone:.2f} | {together / alone:.3f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

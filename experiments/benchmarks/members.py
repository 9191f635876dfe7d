"""What does a member of an ensemble cost, compared with one run after another?

    .venv-bench/bin/python experiments/benchmarks/members.py --workloads b
    .venv-bench/bin/python experiments/benchmarks/members.py --workloads a --members 1,10

`fn.study.ensemble` on all cores, and `fit` alone, with the same network, data and settings: (a) a
thousand MLPs on iris, (b) a hundred MLPs on digits, (d) eight convolutional networks on 2,000 images;
or as many as `--members` says. They take turns, in one process each, since the number of devices must be
set before JAX starts; a single member and `fit` in one process.
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
"""On both cores. A step of (d) uses both by itself, so its members are trained one after another."""


def shorten(name: str) -> Workload:
    work = WORKLOADS[name]()
    if name != "d":
        return work
    return dataclasses.replace(work, x=work.x[:2000], y=work.y[:2000], epochs=1)


def is_spread(name: str, members: int) -> bool:
    return name in SPREAD and members > 1


def measure(name: str, members: int, ways: list[str], rounds: int) -> None:
    """Print the seconds of a model-step for each way, one line per round, in turn."""
    import jax

    import funcnet as fn

    spread = ways == ["together"] and is_spread(name, members)
    if spread:
        fn.mesh.cpu_devices()
    from jobs import funcnet_fit

    work = shorten(name)
    train, (model, data, _) = funcnet_fit.program(work)
    many = fn.study.ensemble(train, members, average="classes")

    def seconds(way: str, seed: int) -> float:
        key, began = jax.random.key(seed), time.perf_counter()
        if way == "together":
            with fn.mesh.use() if spread else contextlib.nullcontext():
                jax.block_until_ready(many(model, data, key))
            return (time.perf_counter() - began) / members / work.steps
        jax.block_until_ready(train(model, data, key))
        return (time.perf_counter() - began) / work.steps

    for way in ways:
        seconds(way, 0)
    for seed in range(rounds):
        for way in ways:
            print(way, seconds(way, seed), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=list(MEMBERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--members", type=lambda text: [int(count) for count in text.split(",")])
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.measure:
        name, members, *ways = settings.measure
        measure(name, int(members), ways, settings.rounds)
        return 0
    print(f"{results.machine()}\n\n| | members | µs a model-step together | alone | ratio |")
    print("|---|---:|---:|---:|---:|")
    for name in settings.workloads:
        for members in settings.members or [MEMBERS[name]]:
            seconds: dict[str, list[float]] = {"together": [], "alone": []}
            turns = [["together"], ["alone"]] if is_spread(name, members) else [list(seconds)]
            for ways in 2 * turns:
                command = [sys.executable, __file__, "--rounds", str(settings.rounds)]
                done = subprocess.run(
                    [*command, "--measure", name, str(members), *ways],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                for line in done.stdout.splitlines():
                    seconds[line.split()[0]].append(float(line.split()[1]))
            together, alone = (statistics.median(seconds[way]) * 1e6 for way in seconds)
            print(
                f"| {name} | {members:,} | {together:.2f} | {alone:.2f} | {together / alone:.3f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

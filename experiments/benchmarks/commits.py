"""Did a change make training slower? Two checkouts of funcnet, in turn, round after round.

    git worktree add ../before <commit>
    python experiments/benchmarks/commits.py --before ../before
    python experiments/benchmarks/commits.py --before ../before --lines a e --rounds 41

Each line of the table is a workload of `workloads.py`, an ensemble of 1,000 networks, or the time to
compile. One process for each checkout stays alive and is asked in turn; both rest before each turn. The
table gives the median of the ratios after / before of all rounds, with its 95 % confidence interval
(bootstrap over rounds). Nothing else should run on the machine. The exit status is 1 if an interval lies
above `--allowed`.
"""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROUNDS = {"a": 31, "b": 21, "c": 9, "d": 5, "e": 31, "f": 15, "ensemble": 15, "compile": 9, "first call": 9}
TURN = 0.1
REST = 0.3
"""Seconds: shorter runs are repeated until a turn has lasted so long; rest before each turn."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="the checkout to compare with")
    parser.add_argument("--lines", nargs="+", choices=list(ROUNDS), default=list(ROUNDS))
    parser.add_argument("--rounds", type=int, help="rounds of each line; by default as many as it needs")
    parser.add_argument("--allowed", type=float, default=1.03)
    parser.add_argument("--serve", choices=list(ROUNDS), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.serve:
        return serve(settings.serve)
    checkouts = settings.before.resolve(), Path(__file__).resolve().parents[2]
    print("| line | before, ms | after, ms | after / before | 95 % interval | rounds |")
    print("|---|---:|---:|---:|---|---:|")
    slower = False
    for line in settings.lines:
        rounds = settings.rounds or ROUNDS[line]
        times = np.array(list(measure(line, checkouts, rounds)))
        ratios = times[:, 1] / times[:, 0]
        draws = np.random.default_rng(0).integers(rounds, size=(10_000, rounds))
        low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
        before, after = np.median(times, axis=0) * 1e3
        print(
            f"| {line} | {before:.3f} | {after:.3f} | {np.median(ratios):.3f} | {low:.3f} to {high:.3f} | "
            f"{rounds} |",
            flush=True,
        )
        slower |= low > settings.allowed
    return 1 if slower else 0


def measure(line: str, checkouts: tuple[Path, Path], rounds: int) -> Iterator[tuple[float, float]]:
    """The seconds of both checkouts, round by round; every other round begins with the second one."""
    fresh = line in ("compile", "first call")  # a new process for each turn
    with contextlib.ExitStack() as stack:
        alive = None if fresh else [stack.enter_context(process(line, checkout)) for checkout in checkouts]
        for number in range(rounds):
            seconds = {}
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                if alive is None:
                    with process(line, checkouts[which]) as ask:
                        seconds[which] = ask(number)
                else:
                    seconds[which] = alive[which](number)
            yield seconds[0], seconds[1]


@contextlib.contextmanager
def process(line: str, checkout: Path) -> Iterator[Callable[[int], float]]:
    """A process that imports one checkout; call the value with a seed for the seconds of a turn."""
    paths = os.pathsep.join([str(checkout), str(checkout / "experiments" / "benchmarks")])
    command = [sys.executable, __file__, "--before", ".", "--serve", line]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        pipe, answers = child.stdin, child.stdout
        assert (ready := answers.readline()) == f"{checkout}\n", f"imported {ready}, not {checkout}"

        def ask(seed: int) -> float:
            time.sleep(REST)
            pipe.write(f"{seed}\n")
            pipe.flush()
            return float(answers.readline())

        yield ask
        pipe.close()


def serve(line: str) -> int:
    """The process's end: import, prepare, then a turn for each seed that is read."""
    import jax

    import funcnet as fn
    import workloads

    out, sys.stdout = sys.stdout, sys.stderr
    # First of all: the ensemble's module makes every core a device, which JAX allows before it starts.
    jobs = importlib.import_module("jobs.funcnet_ensemble" if line == "ensemble" else "jobs.funcnet_fit")
    work = workloads.WORKLOADS["a" if line in ("ensemble", "compile", "first call") else line]()
    job = None if line in ("compile", "first call") else jobs.prepare(work)
    if job is not None:
        job.train(0)
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))  # initializes the compiler
    print(Path(fn.__file__).resolve().parents[1], file=out, flush=True)
    for seed in map(int, sys.stdin):
        seconds: list[float] = []
        while sum(seconds) < TURN:
            began = time.perf_counter()
            if line == "compile":
                function, arguments = jobs.program(work)
                jax.jit(function).lower(*arguments).compile()
            else:
                (job or jobs.prepare(work)).train(seed)
            seconds.append(time.perf_counter() - began)
        print(np.median(seconds), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A process for each peer: it prepares runs once, executes one on request, and sleeps otherwise.

Frameworks in one process would compete for threads and memory, and one after another they would meet a
machine in different states. So all processes stay alive and take turns.
"""

import contextlib
import dataclasses
import importlib
import math
import multiprocessing
import statistics
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs import BASE, PEERS
from reference import mean_loss
from workloads import Workload

TURN = 0.1
"""Seconds: shorter runs are repeated within their turn. A process that has slept needs a millisecond to
wake up, as long as all of (e) takes."""

REST = 0.25
"""Seconds before a turn: threads of BLAS and OpenMP spin for up to 0.2 after their last work, on a core
that the next process needs."""


class Failed(Exception):
    """A request to a peer failed; the message is the last line of its error."""


@contextlib.contextmanager
def noted(failures: list[str], workload: str, peer: str) -> Iterator[None]:
    """Record the failure of a peer and leave it out; a failure of the hand-written scan is raised."""
    try:
        yield
    except Failed as failed:
        if peer == BASE:
            raise
        failures.append(f"{workload}, {PEERS[peer]}: {failed}")


class Worker:
    """The driver's end: every method asks the process and waits for its answer."""

    deadline: float | None = None
    """Of `time.monotonic()`: a process that has not answered by then is ended. By default it may take as
    long as it likes."""

    failed = False
    """Whether it could not do something that it was asked."""

    def __init__(self, peer: str, file: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, peer, file), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process; a second call does nothing."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            self.pipe.send(None)
            self.process.join(timeout=30 if self.deadline is None else 3)
        self.process.kill()

    def open(self, file: Path) -> None:
        """Turn to another workload; what was prepared for the last one is released."""
        self._ask("open", file)

    def variants(self) -> list[dict[str, Any]]:
        """The peer's ways to do the workload; none if it can't."""
        return self._ask("variants")

    def probe(self, variant: int) -> float:
        """The final loss of a short training with the rows in their order."""
        return self._ask("probe", variant)

    def prepare(self, variant: int, settings: dict[str, Any] | None = None) -> float:
        """Set a variant up and train once: the seconds that took, compiling included.

        With `settings` the variant is these, and the number is merely its name for `train`.
        """
        return self._ask("prepare", variant, settings)

    def train(self, variant: int, seed: int, rest: float = REST, judge: bool = True) -> tuple[float, float]:
        """The median seconds of a turn's trainings, and the last one's final loss: NaN unless `judge`."""
        time.sleep(rest)
        return self._ask("train", variant, seed, judge)

    def _ask(self, *request: Any) -> Any:
        try:
            self.pipe.send(request)
            left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
            if not self.pipe.poll(left):
                self.failed = True
                self.process.kill()
                raise Failed(f"not done after the {left:.0f} s that the budget left it")
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.failed = True
            self.process.join(timeout=30)
            raise Failed(f"its process ended with exit code {self.process.exitcode}") from None
        if kind == "failed":
            self.failed = True
            raise Failed(value)
        return value


def _serve(pipe: Any, peer: str, file: Path) -> None:
    served = None
    for request in iter(pipe.recv, None):
        try:
            served = served or _Served(peer, file)
            name, *arguments = request
            answer = "done", getattr(served, name)(*arguments)
        except Exception as error:
            traceback.print_exc()
            answer = "failed", traceback.format_exception_only(error)[-1].strip()
        pipe.send(answer)


class _Served:
    """The process's end."""

    def __init__(self, peer: str, file: Path) -> None:
        self.module = importlib.import_module(f"jobs.{peer}")
        self.work = Workload.read(file)
        self.jobs: dict[int, Any] = {}

    def variants(self) -> list[dict[str, Any]]:
        return self.module.variants(self.work)

    def probe(self, variant: int) -> float:
        work = dataclasses.replace(self.work.shortened(), shuffle=False)
        job = self.module.prepare(work, **self.module.variants(work)[variant])
        return mean_loss(work, job.weights(job.train(0)))

    def open(self, file: Path) -> None:
        self.work = Workload.read(file)
        self.jobs.clear()

    def prepare(self, variant: int, settings: dict[str, Any] | None) -> float:
        began = time.perf_counter()
        settings = self.variants()[variant] if settings is None else settings
        self.jobs[variant] = self.module.prepare(self.work, **settings)
        self.jobs[variant].train(0)
        return time.perf_counter() - began

    def train(self, variant: int, seed: int, judge: bool) -> tuple[float, float]:
        job, seconds = self.jobs[variant], []
        while sum(seconds) < TURN:
            began = time.perf_counter()
            result = job.train(seed)
            seconds.append(time.perf_counter() - began)
        loss = mean_loss(self.work, job.weights(result)) if judge else math.nan
        return statistics.median(seconds), loss

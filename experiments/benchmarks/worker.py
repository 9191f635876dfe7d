"""A process for each peer: it prepares runs once, executes one on request, and sleeps otherwise.

Frameworks in one process would compete for threads and memory, and one after another they would meet a
machine in different states. So all processes stay alive and take turns.
"""

import contextlib
import dataclasses
import importlib
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

    def __init__(self, peer: str, file: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, peer, file), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join(timeout=30)
        self.process.kill()

    def variants(self) -> list[dict[str, Any]]:
        """The peer's ways to do the workload; none if it can't."""
        return self._ask("variants")

    def probe(self, variant: int) -> float:
        """The final loss of a short training with the rows in their order."""
        return self._ask("probe", variant)

    def prepare(self, variant: int) -> float:
        """Set a variant up and train once: the seconds that took, compiling included."""
        return self._ask("prepare", variant)

    def train(self, variant: int, seed: int) -> tuple[float, float]:
        """The seconds of one training, the median of those of a turn, and its final loss."""
        time.sleep(REST)
        return self._ask("train", variant, seed)

    def _ask(self, *request: Any) -> Any:
        try:
            self.pipe.send(request)
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(timeout=30)
            raise Failed(f"its process ended with exit code {self.process.exitcode}") from None
        if kind == "failed":
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

    def prepare(self, variant: int) -> float:
        began = time.perf_counter()
        self.jobs[variant] = self.module.prepare(self.work, **self.variants()[variant])
        self.jobs[variant].train(0)
        return time.perf_counter() - began

    def train(self, variant: int, seed: int) -> tuple[float, float]:
        job, seconds = self.jobs[variant], []
        while sum(seconds) < TURN:
            began = time.perf_counter()
            result = job.train(seed)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds), mean_loss(self.work, job.weights(result))

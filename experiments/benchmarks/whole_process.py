"""From `python script.py` to a trained iris model: imports, compiling, training, exit.

Cold: no compiled program on disk, the default of each library. Warm: a folder of compiled programs that
the same script has filled before (`fn.cache_compilations()`, or the settings of JAX and Inductor).
Python's own files are in the page cache in both.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import Result
from worker import Failed, noted
from workloads import Workload

TITLES = {
    "g cold": "a whole process that trains (a) once, nothing compiled before",
    "g warm": "the same with the programs of an earlier process on disk",
}
KEEPING_NOTHING = ("torch_loop", "torch_loader", "lightning_fit", "sklearn_fit")
ONCE = Path(__file__).with_name("once.py")


def measure(work: Workload, peers: list[str], rounds: int, failures: list[str]) -> list[Result]:
    """Every peer's first variant, cold and warm, in turn."""
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = work.save(folder)
        for peer in peers:
            with noted(failures, "g", peer):
                seconds, _ = run(
                    peer, file, folder / peer
                )  # fills the folder, and writes Python's bytecode
                kinds = ("g cold",) if peer in KEEPING_NOTHING else TITLES
                found += [Result(kind, peer, "", work.steps, work.band(rounds), seconds) for kind in kinds]
        for number in range(rounds):
            for result in found:
                cache = _cache(result, folder, number)
                if len(result.seconds) == number:  # it has not failed so far
                    with noted(failures, result.workload, result.peer):
                        seconds, seen = run(result.peer, file, cache, number)
                        result.add(seconds, seen["loss"])
    return [result for result in found if len(result.seconds) == rounds]


def _cache(result: Result, folder: Path, number: int) -> Path | None:
    """Where this process keeps compiled programs. Inductor always does: when cold, in an empty folder."""
    if result.workload == "g warm":
        return folder / result.peer
    return folder / f"empty{number}" if result.peer == "torch_compile" else None


def run(
    peer: str,
    file: Path,
    cache: Path | None = None,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    timeout: float | None = None,
) -> tuple[float, dict[str, Any]]:
    """The seconds of a whole process, and what it printed; after `timeout` seconds it is ended."""
    command = [sys.executable, str(ONCE), peer, str(file), "--seed", str(seed)]
    command += ["--cache", str(cache)] if cache else []
    command += ["--settings", json.dumps(settings)] if settings else []
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after the {timeout:.0f} s that the budget left it") from None
    seconds = time.perf_counter() - began
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return seconds, json.loads(done.stdout.splitlines()[-1])

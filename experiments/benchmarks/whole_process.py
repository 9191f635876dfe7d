"""From `python script.py` to a trained iris model: imports, compiling, training, exit.

Cold: no compiled program on disk, the default of each. Warm: a folder of compiled programs that the same
script has filled before (`fn.cache_compilations()`; the others by JAX's and Inductor's own settings). The
files of Python itself are warm in both.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import Result
from worker import Failed
from workloads import Workload

TITLES = {
    "g cold": "a whole process that trains (a) once, nothing compiled before",
    "g warm": "the same with the programs of an earlier process on disk",
}
COMPILING = ("jax_scan", "funcnet_fit", "jax_steps", "torch_compile", "keras_fit", "nnx_steps", "equinox_steps")
ONCE = Path(__file__).with_name("once.py")


def measure(work: Workload, peers: list[str], rounds: int, failures: list[str]) -> list[Result]:
    """Every peer's first variant, cold and warm, in turn."""
    with tempfile.TemporaryDirectory() as name:
        file = work.save(Path(name))
        results, folders = [], {}
        for peer in peers:
            folders[peer] = Path(name, peer)
            try:
                seconds, seen = run(peer, file, folders[peer])  # fills the folder, and Python's bytecode
            except Failed as failed:
                failures.append(f"g, {peer}: {failed}")
                continue
            kinds = ("g cold", "g warm") if peer in COMPILING else ("g cold",)
            results += [Result(kind, peer, "", work.steps, work.band, seconds) for kind in kinds]
        for number in range(rounds):
            for result in results:
                cold = Path(name, f"{result.peer}-{number}")
                folder = folders[result.peer] if result.workload == "g warm" else None
                # Inductor always keeps its programs: give it an empty folder.
                folder = cold if folder is None and result.peer == "torch_compile" else folder
                seconds, seen = run(result.peer, file, folder)
                result.add(seconds, seen["loss"])
    return results


def run(peer: str, file: Path, cache: Path | None = None, variant: int = 0) -> tuple[float, dict[str, Any]]:
    """The seconds of a whole process, and what it printed."""
    command = [sys.executable, str(ONCE), peer, str(file), "--variant", str(variant)]
    command += ["--cache", str(cache)] if cache else []
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return seconds, json.loads(done.stdout.splitlines()[-1])

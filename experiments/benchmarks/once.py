"""One run in a process of its own: python once.py PEER WORKLOAD.npz [--cache FOLDER]

Prints a line of JSON: the final loss, the seconds for setup and training, and the memory of the process in
bytes, before that and at its peak. `whole_process.py` and `memory.py` start it.
"""

import argparse
import importlib
import json
import os
import time
from pathlib import Path

from reference import mean_loss
from workloads import Workload


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="keep compiled programs here")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, beside the first variant's")
    arguments = parser.parse_args()
    if arguments.cache:
        _keep_compiled(arguments.peer, arguments.cache)

    module = importlib.import_module(f"jobs.{arguments.peer}")
    work = Workload.read(arguments.workload)
    before, began = _memory("VmRSS"), time.perf_counter()
    job = module.prepare(work, **module.variants(work)[0] | arguments.settings)
    result = job.train(arguments.seed)
    seconds = time.perf_counter() - began
    peak = _memory("VmHWM")
    loss = mean_loss(work, job.weights(result))
    print(json.dumps({"loss": loss, "seconds": seconds, "before": before, "peak": peak}))


def _keep_compiled(peer: str, folder: Path) -> None:
    """Turn on the compilation cache: funcnet's function, or JAX's and Inductor's environment variables."""
    if peer == "funcnet_fit":
        import funcnet as fn

        fn.cache_compilations(folder)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def _memory(name: str) -> int:
    """Bytes in a line of Linux's account of this process; `ru_maxrss` would begin at the parent's size.

    0 where the kernel keeps no such line.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


if __name__ == "__main__":
    main()

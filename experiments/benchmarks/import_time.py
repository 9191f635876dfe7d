"""What does `import funcnet` add to importing jax and optax?

    make import-time

Names of funcnet are loaded when they are first used: the second number includes what training an MLP
loads. After importing jax and optax a full garbage collection is due, which the next seven hundred
objects would trigger. It is run between the two imports and printed separately.
"""

import os
import statistics
import subprocess
import sys

PROGRAM = """
import gc, time
began = time.perf_counter()
import jax, optax
imported = time.perf_counter()
gc.collect()
collected = time.perf_counter()
import funcnet as fn
named = time.perf_counter()
fn.fit, fn.MLP, fn.EarlyStopping, fn.data.Dataset, fn.losses.supervised, fn.metrics.accuracy
fn.losses.cross_entropy
print(imported - began, collected - imported, named - collected, time.perf_counter() - named)
"""


def main():
    # The first run writes the bytecode that later runs read, as on a user's machine.
    runs = [_run() for _ in range(12)][1:]
    base, collection, added, used = (statistics.median(c) * 1000 for c in zip(*runs, strict=True))
    print(f"jax and optax: {base:.0f} ms; the garbage collection then due: {collection:.0f} ms")
    print(
        f"funcnet on top: {added:.0f} ms; with the names that training an MLP uses: {added + used:.0f} ms"
    )
    print(f"(medians of {len(runs)} processes)")


def _run():
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return tuple(map(float, done.stdout.split()))


if __name__ == "__main__":
    main()

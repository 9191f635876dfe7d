"""What does `import funcnet` add to importing jax and optax?

make import-time
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
import funcnet
print(imported - began, collected - imported, time.perf_counter() - collected)
"""


def main():
    runs = [
        tuple(
            map(
                float,
                subprocess.run(
                    [sys.executable, "-c", PROGRAM], capture_output=True, text=True
                ).stdout.split(),
            )
        )
        for _ in range(11)
    ]
    base, added = (statistics.median(column) * 1000 for column in zip(*runs[1:], strict=True))
    print(f"jax and optax: {base:.0f} ms; funcnet on top: {added:.0f} ms (medians of 10 processes)")


if __name__ == "__main__":
    main()

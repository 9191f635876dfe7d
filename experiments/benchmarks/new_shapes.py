"""Resident memory of one process that trains, evaluates and predicts on tables of ever new sizes.

    python experiments/benchmarks/new_shapes.py --shapes 200

Each shape is a table of another number of rows: a split, a run with validation rows, an evaluation,
predictions and a metric. JAX keeps a compiled program for each; funcnet forgets them after 32.
"""

import argparse
import ctypes
import gc

import jax
import numpy as np
import optax

import funcnet as fn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=200)
    parser.add_argument("--every", type=int, default=20, help="shapes between two lines of the table")
    options = parser.parse_args()
    loss = fn.losses.supervised(fn.losses.squared_error)
    train = fn.fit(loss, optax.adam(1e-2), epochs=2, batch_size=16)
    model = fn.MLP((1, 8, 8, "scalar")).init(jax.random.key(0))
    key = jax.random.key(1)
    print("shapes  resident MB  after malloc_trim")
    for count in range(1, options.shapes + 1):
        x = np.linspace(-1, 1, 100 + count, dtype=np.float32)[:, None]
        part, valid = fn.data.split((x, x[:, 0]), (0.8, 0.2), key)
        run = train(model, part, key, valid)
        fn.evaluate(loss, run.model, (x, x[:, 0]))
        predictions = np.asarray(fn.predict(run.model, x))
        fn.metrics.measure(fn.metrics.absolute_error, predictions, x[:, 0])
        if count % options.every == 0:
            before = resident_megabytes()
            print(f"{count:6}  {before:11.0f}  {trimmed_megabytes():17.0f}", flush=True)


def resident_megabytes() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def trimmed_megabytes() -> float:
    """After glibc has given back the pages that it holds free."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident_megabytes()


if __name__ == "__main__":
    main()

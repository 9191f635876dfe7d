"""What does a Trainer cost relative to `fit`, and a stream from disk relative to arrays in memory?

    .venv-bench/bin/python experiments/benchmarks/trainer.py    # writes 8 GB to a temporary folder
    .venv-bench/bin/python experiments/benchmarks/trainer.py --gigabytes 1

Trainer: workload (a), with its own number of epochs and with 50 times as many, with the progress bar on a
(fake) terminal and a CSV file. Stream: the network of (c), rows of 784 numbers in a file that is larger
than the memory it may take; its rate of steps is compared with that of rows in memory, and with PyTorch's
DataLoader feeding the same compiled step from the same file. Medians of interleaved rounds, ratios within
each round.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import results

WIDTH, CLASSES, BATCH, EPOCHS = 784, 10, 128, 3


class Terminal(io.StringIO):
    """A fake terminal."""

    def isatty(self) -> bool:
        return True


def trainer_over_fit(epochs: int, rounds: int) -> None:
    import jax
    import optax

    import funcnet as fn
    from jobs import funcnet_fit
    from workloads import iris

    work = iris()
    _, (model, data, key) = funcnet_fit.program(work)
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    train = fn.fit(loss, optax.adam(work.learning_rate), epochs=epochs, batch_size=work.batch_size)

    with tempfile.TemporaryDirectory() as folder:
        trainer = fn.Trainer(train, callbacks=[fn.train.CSV(f"{folder}/history.csv")])

        def watched(key: jax.Array) -> object:
            before, sys.stderr = sys.stderr, Terminal()
            try:
                return trainer(model, data, key)
            finally:
                sys.stderr = before

        ways = {"fit": lambda key: train(model, data, key), "Trainer": watched}
        seconds = _interleaved(ways, key, rounds)
    ratio = statistics.median(b / a for a, b in zip(seconds["fit"], seconds["Trainer"], strict=True))
    fit, watched_ = (statistics.median(seconds[name]) * 1e3 for name in ways)
    print(f"| {epochs:,} epochs of 10 steps | {fit:.1f} | {watched_:.1f} | {ratio:.2f} |", flush=True)


def _interleaved(ways: dict[str, Callable], key: object, rounds: int) -> dict[str, list[float]]:
    import jax

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        jax.block_until_ready(way(key))
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            jax.block_until_ready(way(key))
            seconds[name].append(time.perf_counter() - began)
    return seconds


def write(folder: Path, gigabytes: float) -> int:
    """Write x.npy and y.npy of about this size in chunks; returns the number of rows."""
    rows = int(gigabytes * 1e9) // (4 * WIDTH)
    rng = np.random.default_rng(0)
    chunk = rng.random((10_000, WIDTH), np.float32)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, WIDTH))
    for first in range(0, rows, len(chunk)):
        part = chunk[: min(len(chunk), rows - first)]
        x[first : first + len(part)] = part
    x.flush()
    np.save(folder / "y.npy", rng.integers(0, CLASSES, rows).astype(np.int32))
    return rows


def one(way: str, folder: Path, steps: int) -> None:
    """Train some steps in a process of its own; prints the rate and the peak resident memory."""
    import jax
    import jax.numpy as jnp
    import optax

    import funcnet as fn

    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    key, model = jax.random.key(0), fn.MLP((WIDTH, 512, 256, CLASSES)).init(jax.random.key(1))
    train = fn.fit(loss, optax.adam(1e-3), epochs=EPOCHS, batch_size=BATCH)
    paths = folder / "x.npy", folder / "y.npy"
    if way == "loader":
        run = _loader(train, model, key, paths, steps)
    else:
        data = fn.data.Stream.npy(paths)
        if way == "memory":
            data = data.source.rows(np.arange(60_000))
            data = tuple(map(jnp.asarray, data))
        trainer = fn.Trainer(train, progress=False, limit_batches=steps)

        def run() -> None:
            jax.block_until_ready(trainer(model, data, key).model)

    run()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(
        json.dumps({"rate": EPOCHS * steps / seconds, "resident": int(status["VmHWM"].split()[0]) / 2**20})
    )


def _loader(train, model, key, paths, steps):
    import jax
    import jax.numpy as jnp
    import torch
    from torch.utils.data import DataLoader, Dataset

    import funcnet as fn

    class Rows(Dataset):
        def __init__(self):
            self.x, self.y = (np.load(path, mmap_mode="r") for path in paths)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return torch.from_numpy(np.array(self.x[i])), int(self.y[i])

    step = jax.jit(fn.step(train.loss, train.optimizer, accumulate=train.accumulate))

    def run():
        state = fn.TrainState.create(model, train.optimizer, key)
        for _ in range(EPOCHS):
            for number, (x, y) in enumerate(DataLoader(Rows(), BATCH, shuffle=True)):
                if number == steps:
                    break
                state, _ = step(state, (jnp.asarray(x.numpy()), jnp.asarray(y.numpy().astype(np.int32))))
        jax.block_until_ready(state.model)

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=400, help="at most 468, the steps of an epoch in memory"
    )
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.way:
        one(settings.way, settings.folder, settings.steps)
        return 0
    print(results.machine())
    print("| workload (a) | `fit`, ms | Trainer with bar and CSV, ms | ratio |\n|---|---:|---:|---:|")
    trainer_over_fit(200, 101)
    trainer_over_fit(10_000, 9)
    print(f"\n| {settings.gigabytes:g} GB on disk | steps/s | relative to memory | resident, GB |")
    print("|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), settings.gigabytes)
        results_of: dict[str, list[dict[str, float]]] = {"memory": [], "stream": [], "loader": []}
        for _ in range(settings.rounds):
            for way, measured in results_of.items():
                command = [sys.executable, __file__, "--way", way, "--folder", folder]
                command += ["--steps", str(settings.steps)]
                out = subprocess.run(command, check=True, capture_output=True, text=True)
                measured.append(json.loads(out.stdout.splitlines()[-1]))
    names = {
        "memory": "60,000 rows in memory",
        "stream": "`Stream.npy`",
        "loader": "torch's DataLoader, same step",
    }
    for way, measured in results_of.items():
        rate = statistics.median(m["rate"] for m in measured)
        pairs = zip(measured, results_of["memory"], strict=True)
        share = statistics.median(m["rate"] / base["rate"] for m, base in pairs)
        resident = max(m["resident"] for m in measured)
        print(f"| {names[way]} | {rate:,.0f} | {share:.2f} | {resident:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

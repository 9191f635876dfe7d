"""Is a training that is killed at any moment, again and again, the one that was never killed?

    python experiments/faults/kill_and_resume.py            # 100 kills with SIGKILL, some ten minutes
    python experiments/faults/kill_and_resume.py --kills 5

A small training saves after every third step. It is started, and killed after a random time: while it
starts, inside steps, between them, while it saves. Then the same command is run again, and so on, until it
ends; then the next training begins. In the end every final state must be that of the unkilled run, bit for
bit, and every checkpoint that a killed process left must be one that can be read.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import funcnet as fn
from funcnet.train._manifest import check_sums, places, read_manifest

PAUSE = 0.05
"""Seconds that it rests after each checkpoint is handed over, so that kills fall everywhere."""


def training(directory: Path) -> None:
    """The process that is killed: 12 epochs of 7 steps, a checkpoint after every third."""
    import jax.numpy as jnp
    import optax

    fn.cache_compilations(directory.parent / "programs")  # else most kills would hit the compiler
    key = jax.random.key(3)
    x = jax.random.normal(key, (50, 3))
    y = jnp.int32(x[:, 0] > 0) + jnp.int32(x[:, 1] > 0)
    net = fn.MLP((3, 8, 3), dropout=0.2)
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    train = fn.fit(loss, optax.adam(0.01), epochs=12, batch_size=8, ema=0.9)

    class Slow(fn.train.Callback):
        read_only = True

        def on_checkpoint(self, context):
            time.sleep(PAUSE)

    trainer = fn.Trainer(
        train,
        directory,
        [Slow(), fn.train.CSV("history.csv")],
        sync_every=fn.train.Every(steps=1),
        save_every=fn.train.Every(steps=3),
    )
    run = trainer(net.init(key), (x, y), jax.random.key(4), (x[:20], y[:20]))
    state = run.state
    parts = run.model, state.model, state.opt_state, state.step, state.epoch, state.history
    leaves = jax.tree.leaves(parts)
    np.savez(directory / "part.npz", *map(np.asarray, leaves))
    (directory / "part.npz").rename(directory / "end.npz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--training", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.training is not None:
        training(settings.training)
        return 0

    moments = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        _start(Path(folder, "first")).wait()  # fills the folder of compiled programs
        # The shortest of three: a busy moment of the machine would make most kills come too late.
        wholes = [Path(folder, f"whole{i}") for i in range(3)]
        seconds = min(_seconds(whole) for whole in wholes)
        want, *again = map(_end, wholes)  # fails where one of them did
        different = sum(not _equal(end, want) for end in again)
        kills, runs, read, resumed = 0, 0, 0, 0
        while kills < settings.kills:
            directory, runs = Path(folder, f"run{runs}"), runs + 1
            while not (directory / "end.npz").exists():
                resumed += len(places(directory)) > 0
                process = _start(directory)
                if kills < settings.kills:
                    time.sleep(moments.uniform(0.0, seconds))
                    if process.poll() is None:
                        process.send_signal(signal.SIGKILL)
                        kills += 1
                process.wait()
                for place in places(directory):
                    check_sums(place, read_manifest(place))  # raises where a byte is another
                    read += 1
            different += not _equal(_end(directory), want)
    print(f"kills                                     {kills}")
    print(f"trainings they were spread over           {runs}")
    print(f"starts that found a checkpoint            {resumed}")
    print(f"checkpoints found whole                   {read}")
    print(f"trainings that ended in other bits        {different}")
    return 1 if different else 0


def _start(directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, __file__, "--training", directory],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _seconds(directory: Path) -> float:
    began = time.monotonic()
    _start(directory).wait()
    return time.monotonic() - began


def _end(directory: Path) -> list[np.ndarray]:
    with np.load(directory / "end.npz") as file:
        return [file[name] for name in file.files]


def _equal(end: list[np.ndarray], want: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, end, want))


if __name__ == "__main__":
    sys.exit(main())

"""Does a run that is killed again and again, at any moment, end like one that was never killed?

    python experiments/faults/kill_and_resume.py            # 100 kills with SIGKILL, about ten minutes
    python experiments/faults/kill_and_resume.py --kills 5

A small run saves after every third step. It is started and killed after a random time: during start-up,
within a step, between steps, or while it saves. Then the same command is run again, until the run ends,
and the next run starts. Every final state must equal that of the uninterrupted run, bit for bit, and
every checkpoint that a killed process left must be readable.
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
from funcnet.train._manifest import places, read_manifest, verify_files

PAUSE = 0.05
"""Seconds of sleep after each checkpoint, so that kills are spread over the run."""


def train_once(directory: Path) -> None:
    """The process that is killed: 12 epochs of 7 steps, a checkpoint after every third."""
    import jax.numpy as jnp
    import optax

    fn.cache_compilations(directory.parent / "programs")  # otherwise most kills would hit the compiler
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
        train_once(settings.training)
        return 0

    moments = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        _start(Path(folder, "first")).wait()  # fills the folder of compiled programs
        # The shortest of three: on a busy machine most kills would come too late otherwise.
        wholes = [Path(folder, f"whole{i}") for i in range(3)]
        seconds = min(_seconds(whole) for whole in wholes)
        expected, *others = map(_final_state, wholes)  # raises if one of them failed
        different = sum(not _equal(state, expected) for state in others)
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
                    verify_files(place, read_manifest(place))  # raises if a byte differs
                    read += 1
            different += not _equal(_final_state(directory), expected)
    print(f"kills                                     {kills}")
    print(f"runs they were spread over                {runs}")
    print(f"starts that found a checkpoint            {resumed}")
    print(f"valid checkpoints read                    {read}")
    print(f"runs that ended in different bits         {different}")
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


def _final_state(directory: Path) -> list[np.ndarray]:
    with np.load(directory / "end.npz") as file:
        return [file[name] for name in file.files]


def _equal(state: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, state, expected))


if __name__ == "__main__":
    sys.exit(main())

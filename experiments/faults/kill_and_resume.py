"""Does a run that is killed again and again, at any moment, end like one that was never killed?

    python experiments/faults/kill_and_resume.py            # 100 kills with SIGKILL, about ten minutes
    python experiments/faults/kill_and_resume.py --kills 5
    python experiments/faults/kill_and_resume.py --processes 2 --kills 50    # about 25 minutes

A small run saves after every third step. It is started and killed after a random time: during start-up,
within a step, between steps, or while it saves. Then the same command is run again, until the run ends,
and the next run starts. Every final state must equal that of the uninterrupted run, bit for bit, and
every checkpoint that a killed process left must be readable.

With several processes, one of them or all are killed; those that are left must end by themselves, with an
error, within 60 seconds. A last run is killed with eight devices and resumed on one.
"""

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import funcnet as fn
from funcnet import _processes
from funcnet.train._manifest import places, read_manifest, verify_files

PAUSE = 0.05
"""Seconds of sleep after each checkpoint, so that kills are spread over the run."""


class Job(NamedTuple):
    """How many processes train, and the devices of each."""

    processes: int
    devices: int
    address: str = ""

    @staticmethod
    def local(processes: int, devices: int) -> "Job":
        """A job on this machine, at a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return Job(processes, devices, f"127.0.0.1:{free.getsockname()[1]}")


def train_once(directory: Path, job: Job, process: int) -> None:
    """The process that is killed: 12 epochs of 7 steps, a checkpoint after every third."""
    import jax.numpy as jnp
    import optax

    fn.mesh.cpu_devices(job.devices)
    if job.processes > 1:
        fn.mesh.initialize(job.address, job.processes, process, timeout=30)
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
    with fn.mesh.use():
        model = net.init(key)
        if job.processes > 1:  # so that each process writes parts of each checkpoint
            model = fn.mesh.shard(model, "columns")
        run = trainer(model, (x, y), jax.random.key(4), (x[:20], y[:20]))
        state = run.state
        parts = run.model, state.model, state.opt_state, state.step, state.epoch, state.history
        leaves = _processes.to_local(jax.tree.leaves(parts))
    if process:
        return
    np.savez(directory / "part.npz", *map(np.asarray, leaves))
    (directory / "part.npz").rename(directory / "end.npz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--training", nargs=5, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.training is not None:
        directory, processes, devices, address, process = settings.training
        train_once(Path(directory), Job(int(processes), int(devices), address), int(process))
        return 0
    count, devices = settings.processes, 1 if settings.processes == 1 else 2

    moments = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        _run(Path(folder, "first"), count, devices)  # fills the folder of compiled programs
        # The shortest of three: on a busy machine most kills would come too late otherwise.
        wholes = [Path(folder, f"whole{i}") for i in range(3)]
        seconds = min(_run(whole, count, devices) for whole in wholes)
        expected, *others = map(_final_state, wholes)  # raises if one of them failed
        different = sum(not _equal(state, expected) for state in others)
        kills, runs, read, resumed, slowest = 0, 0, 0, 0, 0.0
        while kills < settings.kills:
            directory, runs = Path(folder, f"run{runs}"), runs + 1
            while not (directory / "end.npz").exists():
                resumed += len(places(directory)) > 0
                started = _start(directory, Job.local(count, devices))
                if kills < settings.kills:
                    time.sleep(moments.uniform(0.0, seconds))
                    victims = moments.sample(started, moments.choice([1, count]))
                    killed = [process for process in victims if process.poll() is None]
                    for process in killed:
                        process.send_signal(signal.SIGKILL)
                    kills += bool(killed)
                slowest = max(slowest, _wait(started))
                if not (directory / "end.npz").exists() and 0 in [process.poll() for process in started]:
                    raise RuntimeError("a process ended without an error before the run had ended")
                for place in places(directory):
                    verify_files(place, read_manifest(place))  # raises if a byte differs
                    read += 1
            different += not _equal(_final_state(directory), expected)
        if count > 1:
            _resume_on_one_device(Path(folder, "other"), count, 8 // count)
            distance = _distance(_final_state(Path(folder, "other")), expected)
    print(f"kills                                     {kills}")
    print(f"runs they were spread over                {runs}")
    print(f"starts that found a checkpoint            {resumed}")
    print(f"valid checkpoints read                    {read}")
    print(f"runs that ended in different bits         {different}")
    if count > 1:
        print(f"longest end of a process after a kill     {slowest:.0f} s")
        print(f"saved on 8 devices, resumed on 1          {distance:.0e} from the whole run")
    return 1 if different or (count > 1 and distance > 1e-5) else 0


def _start(directory: Path, job: Job) -> "list[subprocess.Popen[bytes]]":
    arguments = [str(directory), str(job.processes), str(job.devices), job.address]
    return [
        subprocess.Popen(
            [sys.executable, __file__, "--training", *arguments, str(process)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for process in range(job.processes)
    ]


def _wait(started: "list[subprocess.Popen[bytes]]") -> float:
    """Wait until all processes have ended; return the seconds from a kill to the end of the last one.

    Raises:
        RuntimeError: if one goes on for 60 seconds after another was killed, or ends without an error.
    """
    while all(process.poll() is None for process in started):
        time.sleep(0.01)
    began = time.monotonic()
    while any(process.poll() is None for process in started):
        was_killed = any(process.poll() == -signal.SIGKILL for process in started)
        if was_killed and time.monotonic() - began > 60:
            for process in started:
                process.kill()
            raise RuntimeError("a process went on for 60 s after another one was killed")
        time.sleep(0.01)
    return time.monotonic() - began


def _run(directory: Path, processes: int, devices: int) -> float:
    """Train without a kill; return the seconds it took."""
    began = time.monotonic()
    _wait(_start(directory, Job.local(processes, devices)))
    return time.monotonic() - began


def _resume_on_one_device(directory: Path, processes: int, devices: int) -> None:
    """Train on 8 devices until a checkpoint is there, kill all, and go on with one device."""
    started = _start(directory, Job.local(processes, devices))
    while not places(directory):
        time.sleep(0.01)
    for process in started:
        process.send_signal(signal.SIGKILL)
    _wait(started)
    _run(directory, 1, 1)


def _distance(state: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest difference, |a - b| / (1 + |b|)."""
    return max(
        float(np.max(np.abs(a.astype(float) - b) / (1 + np.abs(b)), initial=0.0))
        for a, b in zip(state, expected, strict=True)
    )


def _final_state(directory: Path) -> list[np.ndarray]:
    with np.load(directory / "end.npz") as file:
        return [file[name] for name in file.files]


def _equal(state: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, state, expected))


if __name__ == "__main__":
    sys.exit(main())

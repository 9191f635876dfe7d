"""Does a study that is killed again and again end like one that was never killed, and what does that cost?

    python experiments/faults/kill_study.py           # ten kills with SIGKILL, some minutes
    python experiments/faults/kill_study.py --cost    # times of a study in a Trainer and without it

An ensemble of 1,000 networks is started and killed: at random moments, and every second time while it
writes a block. Then the same command is run again, until the study ends, and the next study starts. The
result must equal that of the uninterrupted study, bit for bit, and no member that was kept may be trained
again.
"""

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import funcnet as fn

SIZE, BLOCK = 1000, 20
LOG = "trained.txt"


def make_study(block=None):
    """1,000 members, and the arguments of the call."""
    import optax

    key = jax.random.key(3)
    x = jax.random.normal(key, (256, 8))
    y = jax.numpy.int32(x[:, 0] > 0) + jax.numpy.int32(x[:, 1] > 0)
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    train = fn.fit(loss, optax.adam(0.01), epochs=30, batch_size=32)
    study = fn.study.ensemble(train, SIZE, average="classes", block=block)
    return study, (fn.MLP((8, 32, 3), dropout=0.2), (x, y), jax.random.key(4))


def run_once(directory: Path) -> None:
    """The process that is killed."""
    fn.cache_compilations(directory.parent / "programs")  # otherwise most kills would hit the compiler
    study, arguments = make_study(BLOCK)
    directory.mkdir(exist_ok=True)
    with (directory / LOG).open("a", buffering=1) as log:
        trainer = fn.Trainer(study, directory, [lambda context: print(context.done, file=log)])
        result = trainer(*arguments)
    np.savez(directory / "part.npz", *map(np.asarray, jax.tree.leaves(_without_keys(result))))
    (directory / "part.npz").rename(directory / "end.npz")


def kill(settings: argparse.Namespace) -> int:
    moments = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        _start(whole).wait()  # fills the folder of compiled programs
        expected = _end(whole)
        again = Path(folder, "again")
        began = time.monotonic()
        _start(again).wait()
        seconds = time.monotonic() - began
        different = not _equal(_end(again), expected)
        kills, writing, studies, lost, twice = 0, 0, 0, [], 0
        while kills < settings.kills:
            directory, studies = Path(folder, f"study{studies}"), studies + 1
            while not (directory / "end.npz").exists():
                kept, logged = _kept(directory), len(_log(directory))
                process = _start(directory)
                if kills < settings.kills:
                    if kills % 2:
                        writing += _wait_for_a_write(process, directory, moments.randint(1, 9))
                        time.sleep(moments.uniform(0.0, 0.004))
                    else:
                        time.sleep(moments.uniform(0.0, seconds))
                    if process.poll() is None:
                        process.send_signal(signal.SIGKILL)
                        kills += 1
                process.wait()
                done = _log(directory)[logged:]
                trained = {number for stop in done for number in range(stop - BLOCK, stop)}
                twice += len(kept & trained)
                if process.returncode < 0:
                    lost.append(len(trained - _kept(directory)))
            different += not _equal(_end(directory), expected)
    print(f"members                                   {SIZE}, in blocks of {BLOCK}")
    print(f"seconds of a start that nobody kills      {seconds:.1f}")
    print(f"kills                                     {kills}, of which {writing} after a write began")
    print(f"studies they were spread over             {studies}")
    print(f"members done and lost at each kill        {' '.join(map(str, lost))}")
    print(f"members trained though they were kept     {twice}")
    print(f"studies that ended in different bits      {different}")
    return 1 if different or twice else 0


def cost(settings: argparse.Namespace) -> int:
    study, arguments = make_study()
    with tempfile.TemporaryDirectory() as folder:

        def kept(number):
            return fn.Trainer(study, Path(folder, str(number)), progress=False)(*arguments)

        times: dict[str, list[tuple[float, float]]] = {"plain": [], "kept": []}
        for number in range(-1, settings.repeats):
            for name in times:
                began = time.perf_counter(), time.process_time()
                jax.block_until_ready(study(*arguments) if name == "plain" else kept(number))
                if number >= 0:  # the first is compiled
                    times[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
        files = list(Path(folder, "0", "members").iterdir())
        size = sum(file.stat().st_size for file in files)
    print(
        f"members                                   {SIZE}, kept in {len(files)} files, {size / 1e6:.1f} MB"
    )
    for place, clock in enumerate(("seconds", "seconds of CPU")):
        plain, surviving = (statistics.median(pair[place] for pair in times[name]) for name in times)
        ratios = [k[place] / p[place] for p, k in zip(times["plain"], times["kept"], strict=True)]
        print(f"{clock + ', plain and in a Trainer':42}{plain:.3f} {surviving:.3f}")
        ratio = f"{surviving / plain:.3f} {statistics.median(ratios):.3f}"
        print(f"{'ratio of medians, median of ratios':42}{ratio}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--devices", type=int, default=1, help="CPU devices, for --cost")
    parser.add_argument("--training", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.training is not None:
        run_once(settings.training)
        return 0
    if settings.cost:
        fn.mesh.cpu_devices(settings.devices)
        with fn.mesh.use():
            return cost(settings)
    return kill(settings)


def _start(directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, __file__, "--training", directory], stderr=subprocess.DEVNULL)


def _wait_for_a_write(process: "subprocess.Popen[bytes]", directory: Path, count: int) -> bool:
    """Wait until a process begins to write the block with this number; whether it did."""
    seen: set[Path] = set()
    while process.poll() is None:
        seen |= set(Path(directory, "members").glob(".*.part"))
        if len(seen) >= count:
            return True
    return False


def _kept(directory: Path) -> set[int]:
    """The numbers of the members in whole files."""
    ranges = (file.stem.split("-") for file in directory.glob("members/0*"))
    return {number for _, first, stop in ranges for number in range(int(first), int(stop))}


def _log(directory: Path) -> list[int]:
    """How many members were done after each block, in all processes so far."""
    log = directory / LOG
    return list(map(int, log.read_text().split())) if log.exists() else []


def _end(directory: Path) -> list[np.ndarray]:
    with np.load(directory / "end.npz") as file:
        return [file[name] for name in file.files]


def _without_keys(tree):
    def data(leaf):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(data, tree)


def _equal(state: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, state, expected))


if __name__ == "__main__":
    sys.exit(main())

"""Does training end in the same numbers on any number of processes and devices?

    python experiments/processes.py                              # 1, 2 and 4 processes, 1 to 8 devices each
    python experiments/processes.py --processes 2 --devices 2    # one of them

Several processes on this machine run the same script, as several machines would, and pass sums to one
another through sockets. Each workload is compared with one process that has one device: the table shows the
largest difference, |a - b| / (1 + |b|), over all results in all processes. Differences come from the order
of summation, in float32.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOLERANCE = 1e-6
EPOCHS = 3


def workloads(folder: Path, valid_rows: int = 50) -> dict[str, dict[str, np.ndarray]]:
    """The results of all workloads in this process, as arrays by name."""
    import jax
    import optax

    import funcnet as fn

    iris = fn.data.load("iris").data
    x, y = (np.asarray(array) for array in iris.arrays)
    x, y = x[::-1][:147], y[::-1][:147]  # a short last batch
    net = fn.MLP((4, 16, 3), dropout=0.2)
    loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
    train = fn.fit(loss, optax.adam(1e-2), epochs=EPOCHS, batch_size=40)
    data, valid = (x, y), (x[:valid_rows], y[:valid_rows])
    key = jax.random.key(1)

    def result(run: fn.Run) -> object:
        return run.model, dict(run.history), run.state.opt_state, run.state.step

    def own_rows() -> fn.data.Dataset:
        """Unequal shares: process 0 has three rows more, the last one three fewer."""
        bounds = np.linspace(0, len(x), jax.process_count() + 1).astype(int)
        bounds[1:-1] += 3
        own = slice(*bounds[jax.process_index() :][:2])
        return fn.data.Dataset.from_process_local_data((x[own], y[own]))

    def cross_validation() -> object:
        folds = fn.data.kfold(data, 3, key)
        result = fn.study.cross_validate(train, folds)(net, key)
        return result.scores, result.predictions

    def stream() -> fn.data.Stream:
        return fn.data.Stream.npy((str(folder / "x.npy"), str(folder / "y.npy")))

    with fn.mesh.use():
        model = net.init(jax.random.key(0))
        ensemble = fn.study.ensemble(train, 6)(net, data, key)
        results = {
            "fit": result(train(model, data, key, valid)),
            "fit, own rows": result(train(model, own_rows(), key, valid)),
            "Trainer": result(fn.Trainer(train, progress=False)(model, data, key, valid)),
            "stream": result(fn.Trainer(train, progress=False)(model, stream(), key, valid)),
            "evaluate": (fn.evaluate(loss, model, data), fn.evaluate(loss, model, own_rows())),
            "predict": fn.predict(model, x),
            "ensemble": (ensemble.runs.model, ensemble.model(x[:5])),
            "cross_validate": cross_validation(),
        }
    return {
        name: {str(i): np.asarray(leaf, float) for i, leaf in enumerate(jax.tree.leaves(tree))}
        for name, tree in results.items()
    }


def run_one(folder: Path, address: str, processes: int, process: int, devices: int) -> None:
    """One of several processes: it writes its results to a file."""
    import funcnet as fn

    fn.mesh.cpu_devices(devices)
    if processes > 1:
        fn.mesh.initialize(address, processes, process)
    results = workloads(folder)
    arrays = {f"{name}|{part}": array for name, parts in results.items() for part, array in parts.items()}
    np.savez(folder / f"{processes}-{devices}-{process}.npz", **arrays)


def run_all(folder: Path, processes: int, devices: int) -> list[dict[str, np.ndarray]]:
    """The results of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, __file__, "--folder", str(folder), "--address", address]
    command += ["--processes", str(processes), "--devices", str(devices), "--process"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    started = [subprocess.Popen([*command, str(i)], env=env) for i in range(processes)]
    try:
        codes = [process.wait(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    if any(codes):
        raise SystemExit(f"{processes} processes with {devices} devices each ended with {codes}")
    return [dict(np.load(folder / f"{processes}-{devices}-{i}.npz")) for i in range(processes)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int)
    parser.add_argument("--devices", type=int)
    for hidden, kind in (("folder", Path), ("address", str), ("process", int)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.process is not None:
        run_one(args.folder, args.address, args.processes, args.process, args.devices)
        return 0

    cases = [(p, d) for p in (1, 2, 4) for d in (1, 2, 4, 8) if (p, d) != (1, 1)]
    if args.processes or args.devices:
        cases = [(args.processes or 1, args.devices or 1)]
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from funcnet.data import load

        x, y = (np.asarray(array)[::-1][:147] for array in load("iris").data.arrays)
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
        expected = run_all(folder, 1, 1)[0]
        names = list(dict.fromkeys(key.split("|")[0] for key in expected))
        print("processes  devices each  " + "  ".join(names))
        for processes, devices in cases:
            largest = dict.fromkeys(names, 0.0)
            for results in run_all(folder, processes, devices):
                for key, value in results.items():
                    difference = np.abs(value - expected[key]) / (1 + np.abs(expected[key]))
                    part = key.split("|")[0]
                    same_missing = np.array_equal(np.isnan(value), np.isnan(expected[key]))
                    worst = float(np.nanmax(difference, initial=0.0)) if same_missing else float("inf")
                    largest[part] = max(largest[part], worst)
            failed |= max(largest.values()) > TOLERANCE
            cells = "  ".join(f"{largest[name]:>{len(name)}.0e}" for name in names)
            print(f"{processes:9}  {devices:12}  {cells}", flush=True)
    print(f"largest difference allowed: {TOLERANCE:.0e}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

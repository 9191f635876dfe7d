"""What training on many devices costs: a model of its time, checked here, and on paper to 1,000 devices.

    python experiments/benchmarks/communication.py      # quiet cores; about four minutes
    python experiments/benchmarks/communication.py --picture docs/pictures/communication.png

A step on D devices computes its part of the rows, then sums the gradients of all devices:

    time(D) = computation + latency * rounds(D) + bytes * passes(D) / bandwidth

A ring of D devices takes rounds(D) = 2 (D - 1) messages, one after another, each of 1/D of the gradient, so
passes(D) = 2 (D - 1) / D. Here, D processes share one machine, whose bandwidth all of them use at once:
passes(D) = 2 (D - 1), and the computation is the same in all, since the cores are shared, too. Latency and
bandwidth are fitted to sums of arrays of several sizes over 1 to 8 processes; the time of a step of `fit`
is then predicted from one device and these two numbers, and measured beside it.
"""

import argparse
import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

SIZES = (2**10, 2**16, 2**20, 2**22)
"""Numbers in the arrays that are summed, float32."""
WIDTHS = (64, 512)
COUNTS = (1, 2, 4, 8)
TURNS = 7


def measure(address: str, processes: int, process: int) -> dict[str, Any]:
    """Seconds of sums of arrays by their size, and of a step of `fit` by the width of the network."""
    import funcnet as fn

    fn.mesh.cpu_devices(1)
    if processes > 1:
        fn.mesh.initialize(address, processes, process)
    import jax
    import jax.numpy as jnp
    import optax

    result: dict[str, Any] = {"sums": {}, "steps": {}, "bytes": {}}
    with fn.mesh.use() as mesh:
        rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        for size in SIZES:
            array = jax.make_array_from_callback(
                (processes, size), rows, lambda index, size=size: np.ones((1, size), np.float32)
            )
            add = jax.jit(lambda a: jnp.sum(a, axis=0) / a.shape[0], out_shardings=whole)
            result["sums"][size] = median_seconds(lambda add=add, array=array: add(array))
        x = np.random.default_rng(0).normal(size=(4096, 64)).astype(np.float32)
        loss = fn.losses.supervised(fn.losses.squared_error)
        for width in WIDTHS:
            net = fn.MLP((64, width, width, "scalar"))
            model = net.init(jax.random.key(0))
            seconds = []
            for epochs in (1, 5):
                train = fn.fit(loss, optax.sgd(1e-3), epochs=epochs, batch_size=256)
                data = fn.data.Dataset((x, x[:, 0]))
                seconds.append(median_seconds(functools.partial(run, train, model, data), turns=3))
            result["steps"][width] = (seconds[1] - seconds[0]) / (4 * 4096 // 256)
            result["bytes"][width] = sum(leaf.nbytes for leaf in jax.tree.leaves(model))
    return result


def run(train: Any, model: Any, data: Any) -> Any:
    import jax

    return train(model, data, jax.random.key(1)).model


def median_seconds(call: Any, turns: int = TURNS) -> float:
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure_all(processes: int) -> dict[str, Any]:
    """What process 0 of several measures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, __file__, "--address", address, "--processes", str(processes), "--process"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*command, str(i)], env=env, stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    texts = [process.communicate(timeout=600)[0] for process in started]
    measured: dict[str, Any] = json.loads(texts[0].splitlines()[-1])
    return measured


def rounds(devices: int) -> int:
    return 2 * (devices - 1)


def fit_line(measured: dict[int, dict[str, Any]]) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes a second, least squares of the relative errors."""
    rows, times = [], []
    for devices, result in measured.items():
        for size, seconds in result["sums"].items() if devices > 1 else ():
            rows.append([rounds(devices), 4 * int(size) * rounds(devices)])
            times.append(seconds)
    scaled = np.asarray(rows) / np.asarray(times)[:, None]
    latency, seconds_per_byte = np.linalg.lstsq(scaled, np.ones(len(times)), rcond=None)[0]
    return float(latency), 1 / float(seconds_per_byte)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for hidden, kind in (("address", str), ("processes", int), ("process", int)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--picture", help="where to draw the measurements and the model")
    args = parser.parse_args()
    if args.process is not None:
        print(json.dumps(measure(args.address, args.processes, args.process)))
        return
    measured = {count: measure_all(count) for count in COUNTS}
    latency, bandwidth = fit_line(measured)
    print(f"latency {1e6 * latency:.0f} µs a message, bandwidth {bandwidth / 1e9:.2f} GB/s of all together")
    print("\nsums of one array, ms: measured (by the model)")
    print("processes " + "".join(f"{4 * size / 1e6:>17.3f} MB" for size in SIZES))
    for count in COUNTS[1:]:
        cells = [
            (
                1e3 * measured[count]["sums"][str(size)],
                1e3 * rounds(count) * (latency + 4 * size / bandwidth),
            )
            for size in SIZES
        ]
        print(f"{count:9} " + "".join(f"{a:>11.2f} ({b:6.2f})" for a, b in cells))
    print("\na step of fit, ms: measured (by the model)")
    print("processes " + "".join(f"{measured[1]['bytes'][str(w)] / 1e6:>17.3f} MB" for w in WIDTHS))
    for count in COUNTS:
        cells = []
        for width in WIDTHS:
            num_bytes, alone = measured[1]["bytes"][str(width)], measured[1]["steps"][str(width)]
            predicted = alone + rounds(count) * (latency + num_bytes / bandwidth)
            cells.append((1e3 * measured[count]["steps"][str(width)], 1e3 * predicted))
        print(f"{count:9} " + "".join(f"{a:>11.2f} ({b:6.2f})" for a, b in cells))
    print_paper()
    if args.picture:
        draw(args.picture, measured, latency, bandwidth)


LINKS = {"latency": 5e-6, "bandwidth": 25e9}
"""Of machines on paper: seconds, and bytes a second of each link."""
COMPUTATION = 0.1
"""Seconds of computation on each device in a step on paper."""
ON_PAPER = (1e6, 1e8, 1e9)
"""Bytes of gradients on paper."""


def computing_share(devices: int, num_bytes: float) -> float:
    """The share of the time in which devices with links of their own compute."""
    passes = 2 * (devices - 1) / devices
    summing = rounds(devices) * LINKS["latency"] + num_bytes * passes / LINKS["bandwidth"]
    return COMPUTATION / (COMPUTATION + summing)


def print_paper() -> None:
    links = f"{LINKS['bandwidth'] / 1e9:.0f} GB/s and {1e6 * LINKS['latency']:.0f} µs"
    print(f"\non paper: {COMPUTATION} s of computation a step on each device, links of {links};")
    print("the share of the time that is computation")
    print("devices   " + "".join(f"{size / 1e6:>9,.0f} MB" for size in ON_PAPER))
    for devices in (1, 8, 64, 256, 1000):
        cells = [100 * computing_share(devices, size) for size in ON_PAPER]
        print(f"{devices:7}   " + "".join(f"{cell:>10.1f} %" for cell in cells))


def draw(path: str, measured: dict[int, dict[str, Any]], latency: float, bandwidth: float) -> None:
    """Measured sums beside the model, and the share of computation on paper."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    sizes = np.geomspace(4 * SIZES[0], 4 * SIZES[-1], 50)
    for color, count in zip(("tab:blue", "tab:orange", "tab:green"), COUNTS[1:], strict=True):
        times = [1e3 * measured[count]["sums"][str(size)] for size in SIZES]
        left.plot([4 * size / 1e6 for size in SIZES], times, "o", color=color, label=f"{count} processes")
        left.plot(sizes / 1e6, 1e3 * rounds(count) * (latency + sizes / bandwidth), color=color)
    left.set(
        xscale="log", yscale="log", xlabel="size of the array, MB", ylabel="time of a sum, ms",
        title="One machine: measured (points), by the model (lines)",
    )  # fmt: skip
    left.legend()
    devices = np.unique(np.geomspace(1, 1000, 60).astype(int))
    for size in ON_PAPER:
        share = [100 * computing_share(int(count), size) for count in devices]
        right.plot(devices, share, label=f"gradients of {size / 1e6:,.0f} MB")
    right.set(
        xscale="log", ylim=(0, 102), xlabel="devices", ylabel="time that is computation, %",
        title=f"On paper: {COMPUTATION} s of computation a step",
    )  # fmt: skip
    right.legend()
    figure.savefig(path, dpi=120)
    print(path)


if __name__ == "__main__":
    main()

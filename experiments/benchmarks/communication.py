"""What training on many devices costs: a model of its time, checked here, and on paper to 1,000 devices.

    python experiments/benchmarks/communication.py      # quiet cores; about four minutes

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


def print_paper() -> None:
    """The share of the time that devices compute, by the model, on machines with links of their own."""
    latency, bandwidth, seconds = 5e-6, 25e9, 0.1
    print(f"\non paper: a step computes for {seconds} s on each device, whatever their number; links of ")
    print(
        f"{bandwidth / 1e9:.0f} GB/s and {1e6 * latency:.0f} µs; the share of the time that is computation"
    )
    sizes = (1e6, 1e8, 1e9)
    print("devices   " + "".join(f"{size / 1e6:>9,.0f} MB" for size in sizes))
    for devices in (1, 8, 64, 256, 1000):
        passes = 2 * (devices - 1) / devices
        cells = [
            seconds / (seconds + rounds(devices) * latency + size * passes / bandwidth) for size in sizes
        ]
        print(f"{devices:7}   " + "".join(f"{100 * share:>10.1f} %" for share in cells))


if __name__ == "__main__":
    main()

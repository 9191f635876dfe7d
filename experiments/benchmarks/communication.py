"""What training on many devices costs: a model of its time, checked here, and on paper to 1,000 devices.

    python experiments/benchmarks/communication.py      # quiet cores; about two minutes
    python experiments/benchmarks/communication.py --picture docs/pictures/communication.png

A step on D devices computes its part of the rows, then sums the gradients of all devices in one exchange:

    time(D) = computation + latency * messages(D) + bytes * passes(D) / bandwidth

A ring of D devices takes messages(D) = 2 (D - 1), one after another, each of 1/D of the gradient, so
passes(D) = 2 (D - 1) / D. Here the devices share one machine, whose bandwidth all of them use at once:
passes(D) = 2 (D - 1), and its cores, all of which one device uses, too, so computation stays. Latency
and bandwidth are fitted to sums of arrays of several sizes over 2 to 8 devices. Then the time of a step of
`fit` is predicted from that on one device and these two numbers, and measured beside it.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

SIZES = (2**10, 2**16, 2**20, 2**22)
"""Numbers in the arrays that are summed, float32."""
WIDTHS = (64, 256, 512)
COUNTS = (1, 2, 4, 8)
ROWS, BATCH = 4096, 256
LINKS = {"latency": 5e-6, "bandwidth": 25e9}
"""Of machines on paper: seconds, and bytes a second of each link."""
COMPUTATION = 0.1
"""Seconds of computation on each device in a step on paper."""
ON_PAPER = (1e6, 1e8, 1e9)
"""Bytes of gradients on paper."""


def measure_sums() -> dict[int, float]:
    """Seconds of a sum over the devices of the enclosing `use`, by the size of the array."""
    mesh = jax.sharding.get_mesh()
    parts = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    add = jax.jit(lambda a: jnp.sum(a, axis=0), out_shardings=whole)
    arrays = {size: jax.device_put(np.ones((mesh.size, size), np.float32), parts) for size in SIZES}
    return {size: median_seconds(functools.partial(add, array)) for size, array in arrays.items()}


def measure_step(width: int) -> tuple[float, int]:
    """Seconds of a step of `fit`, and the bytes of its gradient."""
    x = np.random.default_rng(0).normal(size=(ROWS, 64)).astype(np.float32)
    data, key = fn.data.Dataset((x, x[:, 0])), jax.random.key(1)
    model = fn.MLP((64, width, width, "scalar")).init(jax.random.key(0))
    loss = fn.losses.supervised(fn.losses.squared_error)
    seconds = []
    for epochs in (1, 3):
        train = fn.fit(loss, optax.sgd(1e-3), epochs=epochs, batch_size=BATCH)
        seconds.append(median_seconds(lambda train=train: train(model, data, key).model))
    step = (seconds[1] - seconds[0]) / (2 * ROWS // BATCH)
    return step, sum(leaf.nbytes for leaf in jax.tree.leaves(model))


def median_seconds(call: Callable[[], Any], turns: int = 9) -> float:
    jax.block_until_ready(call())
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def messages(devices: int) -> int:
    return 2 * (devices - 1)


def fit_line(sums: dict[int, dict[int, float]]) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes a second, by least squares of the relative errors."""
    rows, times = [], []
    for devices, by_size in sums.items():
        for size, seconds in by_size.items():
            rows.append([messages(devices), 4 * size * messages(devices)])
            times.append(seconds)
    scaled = np.asarray(rows) / np.asarray(times)[:, None]
    latency, seconds_per_byte = np.linalg.lstsq(scaled, np.ones(len(times)), rcond=None)[0]
    return float(latency), 1 / float(seconds_per_byte)


def computing_share(devices: int, num_bytes: float) -> float:
    """The share of the time in which devices with links of their own compute."""
    passes = 2 * (devices - 1) / devices
    summing = messages(devices) * LINKS["latency"] + num_bytes * passes / LINKS["bandwidth"]
    return COMPUTATION / (COMPUTATION + summing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", help="where to draw the measurements and the model")
    args = parser.parse_args()
    fn.mesh.cpu_devices(max(COUNTS))
    sums: dict[int, dict[int, float]] = {}
    steps: dict[int, dict[int, float]] = {}
    num_bytes: dict[int, int] = {}
    for count in COUNTS:
        with fn.mesh.use(count):
            sums[count], steps[count] = measure_sums(), {}
            for width in WIDTHS:
                steps[count][width], num_bytes[width] = measure_step(width)
    latency, bandwidth = fit_line({count: sums[count] for count in COUNTS[1:]})

    def time_of_sum(count: int, size: float) -> float:
        return messages(count) * (latency + size / bandwidth)

    print(f"latency {1e6 * latency:.0f} µs a message, bandwidth {bandwidth / 1e9:.1f} GB/s of all together")
    print("\nsums of one array, ms: measured (by the model)")
    print("devices   " + "".join(f"{4 * size / 1e6:>14.3f} MB" for size in SIZES))
    for count in COUNTS[1:]:
        cells = [(1e3 * sums[count][size], 1e3 * time_of_sum(count, 4 * size)) for size in SIZES]
        print(f"{count:7}   " + "".join(f"{a:>9.2f} ({b:5.2f})" for a, b in cells))
    print("\na step of fit, by the bytes of its gradient, ms: measured (by the model)")
    print("devices   " + "".join(f"{num_bytes[width] / 1e6:>14.3f} MB" for width in WIDTHS))
    for count in COUNTS:
        line = f"{count:7}   "
        for width in WIDTHS:
            predicted = steps[1][width] + time_of_sum(count, num_bytes[width])
            line += f"{1e3 * steps[count][width]:>9.2f} ({1e3 * predicted:5.2f})"
        print(line)
    links = f"{LINKS['bandwidth'] / 1e9:.0f} GB/s and {1e6 * LINKS['latency']:.0f} µs"
    print(f"\non paper: {COMPUTATION} s of computation a step on each device, links of {links};")
    print("the share of the time that is computation")
    print("devices   " + "".join(f"{size / 1e6:>9,.0f} MB" for size in ON_PAPER))
    for devices in (1, 8, 64, 256, 1000):
        shares = [100 * computing_share(devices, size) for size in ON_PAPER]
        print(f"{devices:7}   " + "".join(f"{share:>10.1f} %" for share in shares))
    if args.picture:
        draw(args.picture, sums, time_of_sum)


def draw(path: str, sums: dict[int, dict[int, float]], time_of_sum: Callable[[int, float], float]) -> None:
    """Measured sums beside the model, and the share of computation on paper."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for color, count in zip(("tab:blue", "tab:orange", "tab:green"), COUNTS[1:], strict=True):
        megabytes = [4 * size / 1e6 for size in SIZES]
        measured = [1e3 * sums[count][size] for size in SIZES]
        left.plot(megabytes, measured, "o", color=color, label=f"{count} devices")
        sizes = np.geomspace(megabytes[0], megabytes[-1], 50)
        left.plot(sizes, [1e3 * time_of_sum(count, 1e6 * size) for size in sizes], color=color)
    left.set(xscale="log", yscale="log", xlabel="size of the array, MB", ylabel="time of a sum, ms")
    left.set_title("One machine: measured (points), by the model (lines)", fontsize=10)
    left.legend()
    devices = np.unique(np.geomspace(1, 1000, 60).astype(int))
    for size in ON_PAPER:
        shares = [100 * computing_share(int(count), size) for count in devices]
        right.plot(devices, shares, label=f"gradients of {size / 1e6:,.0f} MB")
    right.set(xscale="log", ylim=(0, 102), xlabel="devices", ylabel="time that is computation, %")
    right.set_title(f"On paper: {COMPUTATION} s of computation a step", fontsize=10)
    right.legend()
    figure.savefig(path, dpi=120)
    print(path)


if __name__ == "__main__":
    main()

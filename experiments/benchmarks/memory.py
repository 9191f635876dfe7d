"""How much memory does training take at its peak? Fashion-MNIST, MLP 784-512-256-10, 1 to 50 epochs.

    make bench
    python experiments/benchmarks/memory.py --epochs 1,5

Every run in a new process; its peak resident memory, including imports, data and compiler. The bounds: at
most 1.1 times that of the smaller of the two hand-written programs, and no more after 50 epochs than
after one.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path

import results
import whole_process
import workloads
from jobs import BASE, PEERS

BY_HAND = (BASE, "jax_steps")
ALLOWED = 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=lambda text: list(map(int, text.split(","))), default=[1, 10, 50])
    settings = parser.parse_args()
    peaks = {}
    print("| | epochs | peak, MB | of these for training, MB |\n|---|---:|---:|---:|")
    for epochs in settings.epochs:
        work = dataclasses.replace(workloads.fashion(), epochs=epochs)
        with tempfile.TemporaryDirectory() as folder:
            file = work.save(Path(folder))
            for peer in (*BY_HAND, "funcnet_fit"):
                runs = [whole_process.run(peer, file)[1] for _ in range(settings.repeats)]
                peak = statistics.median(run["peak"] for run in runs) / 1e6
                before = statistics.median(run["before"] for run in runs) / 1e6
                peaks[peer, epochs] = peak
                print(f"| {PEERS[peer]} | {epochs} | {peak:,.0f} | {peak - before:,.0f} |", flush=True)

    least = {epochs: min(peaks[peer, epochs] for peer in BY_HAND) for epochs in settings.epochs}
    ours = {epochs: peaks["funcnet_fit", epochs] for epochs in settings.epochs}
    worst = max(ours[epochs] / least[epochs] for epochs in settings.epochs)
    growth = max(ours.values()) / ours[settings.epochs[0]]
    print(f"\nfit relative to the smaller hand-written program, at most: {worst:.3f}")
    print(f"fit relative to its own first row, at most: {growth:.3f}")
    print(f"Medians of {settings.repeats} processes each. {results.machine()}")
    return 1 if max(worst, growth) > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())

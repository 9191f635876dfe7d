"""The workloads: data, network sizes, initial weights and optimizer, as numpy arrays and numbers.

A workload is passed to the peers' processes as a file, so that no peer imports another library to read
its data.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

Weights = list[np.ndarray]  # kernel, bias, kernel, bias, …: [in, out] or [height, width, in, out]; [out]


@dataclasses.dataclass(frozen=True)
class Workload:
    """One training job.

    A network is a chain of layers with relu between them. A kernel [height, width, in, out] is a
    convolution without padding, followed by 2 x 2 max-pooling; a kernel [in, out] is a dense layer on the
    flattened output of the layer before. Integer targets are classes (cross-entropy of logits); floating
    ones are numbers (squared error of the only output).

    Args:
        name: its letter.
        title: what it is, for tables.
        optimizer: "adam" (0.9, 0.999, 1e-8) or "sgd" (no momentum).
        rounds: how often it is measured.
        equal: the allowed relative difference of the loss of a short run without shuffling from the
            hand-written scan's. Keras and scikit-learn add Adam's epsilon before its bias correction, the
            others after it, which matters if many pixels are nearly always black.
        scatter: the relative standard deviation of the final loss over orders of rows, as measured.
        shuffle: whether each epoch has its own order.
        x, y: float32 [rows, …] and int32 or float32 [rows].
        start: the initial weights.
    """

    name: str
    title: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    rounds: int
    equal: float
    scatter: float
    shuffle: bool
    x: np.ndarray
    y: np.ndarray
    start: Weights

    @property
    def classes(self) -> bool:
        return self.y.dtype.kind == "i"

    @property
    def convolutions(self) -> bool:
        return self.start[0].ndim == 4

    @property
    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(zip(self.start[::2], self.start[1::2], strict=True))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of the input and of each layer of a network without convolutions."""
        return (self.x.shape[1], *(len(bias) for _, bias in self.layers))

    @property
    def steps(self) -> int:
        """Updates in the whole run."""
        return self.epochs * -(-len(self.x) // self.batch_size)

    def band(self, rounds: int) -> float:
        """The allowed relative difference of the medians of two peers' final losses.

        Four standard deviations of the difference of two medians, on top of `equal`.
        """
        return self.equal + 4 * float(np.sqrt(np.pi / rounds)) * self.scatter

    def shortened(self) -> "Workload":
        """Two epochs of at most 20 batches and a short one: to check that everything runs, not how fast."""
        rows = min(len(self.x), 20 * self.batch_size + self.batch_size // 2)
        epochs = min(self.epochs, 2)
        return dataclasses.replace(self, x=self.x[:rows], y=self.y[:rows], epochs=epochs)

    def save(self, folder: Path) -> Path:
        path = folder / f"{self.name}.npz"
        arrays = {"x": self.x, "y": self.y} | {f"start{i}": a for i, a in enumerate(self.start)}
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        numbers = {name: value for name, value in numbers.items() if name not in ("x", "y", "start")}
        np.savez(path, numbers=json.dumps(numbers), **arrays)
        return path

    @staticmethod
    def read(path: Path) -> "Workload":
        with np.load(path) as file:
            start = [file[f"start{i}"] for i in range(len(file.files) - 3)]
            return Workload(**json.loads(str(file["numbers"])), x=file["x"], y=file["y"], start=start)


def iris() -> Workload:
    x, y = _table("iris")
    x = (x - x.mean(0)) / x.std(0)
    rows = np.random.default_rng(0).permutation(len(x))  # the table is sorted by species
    return Workload(
        name="a",
        title="iris, MLP 4-16-3, batch 16, Adam",
        optimizer="adam",
        learning_rate=1e-2,
        batch_size=16,
        epochs=200,
        rounds=15,
        equal=1e-3,
        scatter=0.1,
        shuffle=True,
        x=x[rows],
        y=y[rows],
        start=_dense(4, 16, 3),
    )


def digits() -> Workload:
    x, y = _table("digits")
    return Workload(
        name="b",
        title="digits, MLP 64-128-10, batch 32, Adam",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=32,
        epochs=20,
        rounds=15,
        equal=1e-3,
        scatter=0.022,
        shuffle=True,
        x=x / 16,
        y=y,
        start=_dense(64, 128, 10),
    )


def fashion() -> Workload:
    x, y = _table("fashion-mnist")
    return Workload(
        name="c",
        title="Fashion-MNIST, MLP 784-512-256-10, batch 128, Adam",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=128,
        epochs=2,
        rounds=7,
        equal=2e-2,
        scatter=0.053,
        shuffle=True,
        x=x[:60_000],
        y=y[:60_000],
        start=_dense(784, 512, 256, 10),
    )


def images() -> Workload:
    x, y = _table("fashion-mnist")
    rng = np.random.default_rng(0)
    kernels = [_normal(rng, shape) for shape in ((3, 3, 1, 32), (3, 3, 32, 64))]
    return Workload(
        name="d",
        title="10,000 of Fashion-MNIST, Conv 32, pool, Conv 64, pool, Dense 10, batch 64, Adam",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=64,
        epochs=1,
        rounds=5,
        equal=2e-2,
        scatter=0.028,
        shuffle=True,
        x=x[:10_000].reshape(-1, 28, 28, 1),
        y=y[:10_000],
        start=[kernels[0], _zeros(32), kernels[1], _zeros(64), *_dense(5 * 5 * 64, 10)],
    )


def line() -> Workload:
    """P11 of the lesson: shuffled once, not by epoch; after ten epochs, y = 1.8617 x + 1.0711."""
    rng = np.random.RandomState(13)
    x = np.linspace(0, 3, 120)
    y = 2 * x + 0.9 + 0.5 * rng.randn(120)
    rows = rng.permutation(120)
    return Workload(
        name="e",
        title="line through 120 points, batch 4, SGD, no shuffling",
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=4,
        epochs=100,
        rounds=15,
        equal=1e-3,
        scatter=0.0,
        shuffle=False,
        x=x[rows, None].astype(np.float32),
        y=y[rows].astype(np.float32),
        start=[np.full((1, 1), 100, np.float32), _zeros(1)],
    )


def curve() -> Workload:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (100_000, 1)).astype(np.float32)
    y = np.sin(6 * x[:, 0]) + 0.1 * rng.standard_normal(len(x)).astype(np.float32)
    return Workload(
        name="f",
        title="100,000 rows of a noisy curve, MLP 1-64-64-1, batch 256, Adam",
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=256,
        epochs=5,
        rounds=7,
        equal=1e-3,
        scatter=0.041,
        shuffle=True,
        x=x,
        y=y,
        start=_dense(1, 64, 64, 1),
    )


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "a": iris,
    "b": digits,
    "c": fashion,
    "d": images,
    "e": line,
    "f": curve,
}


def _table(name: str) -> tuple[np.ndarray, np.ndarray]:
    import funcnet as fn  # not at the top: this module is imported in every peer's process

    x, y = fn.data.load(name).data[:]
    return np.asarray(x), np.asarray(y)


def _dense(*sizes: int) -> Weights:
    rng = np.random.default_rng(0)
    return [part for a, b in itertools.pairwise(sizes) for part in (_normal(rng, (a, b)), _zeros(b))]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He's initialization, for relu."""
    scale = np.sqrt(2 / np.prod(shape[:-1]))
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def _zeros(size: int) -> np.ndarray:
    return np.zeros(size, np.float32)

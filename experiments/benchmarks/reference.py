"""The loss of a network on all rows, in numpy: one program for the weights of all peers."""

import numpy as np

from workloads import Weights, Workload

BLOCK = 1000  # rows at a time: patches of images are large


def mean_loss(work: Workload, weights: Weights) -> float:
    """The mean loss of these weights over the workload's rows, in nats or squared target units."""
    sums = [
        _losses(work.y[i : i + BLOCK], _outputs(weights, work.x[i : i + BLOCK])).sum()
        for i in range(0, len(work.x), BLOCK)
    ]
    return float(sum(sums) / len(work.x))


def _outputs(weights: Weights, x: np.ndarray) -> np.ndarray:
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for kernel, bias in layers[:-1]:
        x = np.maximum(_affine(x, kernel, bias), 0)
        x = _pooled(x) if kernel.ndim == 4 else x
    return _affine(x, *layers[-1]).astype(np.float64)


def _affine(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    if kernel.ndim == 2:
        return x.reshape(len(x), -1) @ kernel + bias
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.tensordot(windows, kernel.transpose(2, 0, 1, 3), axes=3) + bias


def _pooled(x: np.ndarray) -> np.ndarray:
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _losses(y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    if y.dtype.kind != "i":
        return (outputs[:, 0] - y) ** 2
    shifted = outputs - outputs.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]

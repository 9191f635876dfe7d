"""Weights in the layout of PyTorch and Equinox: [out, in] and [out, in, height, width].

Both flatten images channels first, so the rows of the dense layer after the convolutions are permuted,
too.
"""

import numpy as np

from workloads import Weights, Workload

Layers = list[tuple[np.ndarray, np.ndarray]]


def images(work: Workload) -> np.ndarray:
    """x, images as [rows, channels, height, width]."""
    return np.ascontiguousarray(work.x.transpose(0, 3, 1, 2)) if work.convolutions else work.x


def turned(work: Workload) -> Layers:
    """The initial weights of each layer, channels first."""
    layers = []
    for i, (kernel, bias) in enumerate(work.layers):
        if kernel.ndim == 4:
            weight = kernel.transpose(3, 2, 0, 1)
        else:
            weight = kernel.reshape(_image(work, i)).transpose(2, 0, 1, 3).reshape(kernel.shape).T
        layers.append((np.ascontiguousarray(weight), bias))
    return layers


def turned_back(work: Workload, layers: Layers) -> Weights:
    """The inverse of `turned`."""
    weights: Weights = []
    for i, ((weight, bias), (kernel, _)) in enumerate(zip(layers, work.layers, strict=True)):
        if kernel.ndim == 4:
            back = weight.transpose(2, 3, 1, 0)
        else:
            height, width, channels, out = _image(work, i)
            back = weight.T.reshape(channels, height, width, out).transpose(1, 2, 0, 3)
        weights += [back.reshape(kernel.shape), bias.reshape(-1)]
    return weights


def _image(work: Workload, i: int) -> tuple[int, int, int, int]:
    """The height, width and channels behind the rows of dense kernel i, and its columns."""
    rows, out = work.layers[i][0].shape
    before = work.layers[i - 1][0] if i else None
    if before is None or before.ndim == 2:
        return 1, 1, rows, out
    channels = before.shape[-1]
    side = round((rows / channels) ** 0.5)
    return side, side, channels, out

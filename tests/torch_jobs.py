"""What the tests of jobs share: a job's two scripts, and the batches of `fit` as PyTorch's tensors."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def load_job(name: str) -> list[dict[str, Any]]:
    """The definitions of `experiments/name.py` and of `experiments/peers/name.py`, by name."""
    return [runpy.run_path(str(EXPERIMENTS / folder / f"{name}.py")) for folder in ("", "peers")]


def to_tensor(array: Any) -> Any:
    tensor = torch.tensor(np.asarray(array).copy())
    return tensor if tensor.is_floating_point() else tensor.long()


def tensor_batches(data: Any, batch_size: int, key: Any, epoch: int) -> Iterator[Any]:
    """The batches of an epoch of `fit`, without rows of weight 0."""
    for batch in fn.data.batches(data, batch_size, key, epoch):
        counts = np.asarray(batch.weight) > 0
        yield jax.tree.map(lambda a, counts=counts: to_tensor(np.asarray(a)[counts]), batch.example)


def copy_linear(linear: Any, layer: Any) -> None:
    """Give a linear layer of PyTorch the parameters of one of ours; a scalar output is one feature."""
    linear.weight.data = to_tensor(np.asarray(layer.weight).reshape(len(layer.weight), -1).T)
    if layer.bias is not None:
        linear.bias.data = to_tensor(np.asarray(layer.bias).reshape(-1))

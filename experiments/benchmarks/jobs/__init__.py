"""The peers, one file each: `variants(work)` lists their variants of a workload, `prepare` sets one up.

    prepare(work, **variant) -> Job

A variant is a choice that a user would try and that makes a difference here; the fastest one counts. A
peer that cannot run a workload has no variant for it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from workloads import Weights


class Job(NamedTuple):
    """A prepared run, which can be repeated.

    Args:
        train: `train(seed)`: one whole run from the initial weights; returns when it has finished.
        weights: the result's weights, in the workload's layout.
    """

    train: Callable[[int], Any]
    weights: Callable[[Any], Weights]


BASE = "jax_scan"
MEMBERS = 1000
"""Models that an ensemble trains."""

PEERS = {
    BASE: "JAX by hand, one scan",
    "funcnet_fit": "funcnet.fit",
    "jax_steps": "JAX by hand, step loop",
    "torch_loop": "PyTorch, index tensors",
    "torch_loader": "PyTorch, DataLoader",
    "torch_compile": "PyTorch, torch.compile",
    "lightning_fit": "Lightning",
    "keras_fit": "Keras on JAX, Model.fit",
    "nnx_steps": "Flax nnx",
    "equinox_steps": "Equinox",
    "sklearn_fit": "scikit-learn",
}
"""Module in this folder, and its name in tables."""

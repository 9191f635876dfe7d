"""The peers, a file for each: `variants(work)` names its ways to do a workload, `prepare` sets one up.

    prepare(work, **variant) -> Job

What a user would try, and what makes a difference here, is a variant; the fastest one counts. A peer that
can't do a workload has no variant for it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from workloads import Weights


class Job(NamedTuple):
    """A training, ready to run as often as one likes.

    Args:
        train: `train(seed)`: one whole training from the workload's start, until its result is there.
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

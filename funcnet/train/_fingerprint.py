"""What a training is called with, in a few words and sums: to see whether a checkpoint belongs to it."""

import hashlib
import re
from typing import Any

import jax
import numpy as np

from funcnet import _tree
from funcnet._types import Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.train._fit import Fit
from funcnet.train._progress import Progress

SETTINGS = ("epochs", "batch_size", "shuffle", "stopping", "eval_every", "accumulate", "on_nan")


def fingerprint(train: Fit, progress: Progress, model: PyTree, source: Any, key: Key) -> dict[str, str]:
    """What must be the same when a training goes on, by name.

    Args:
        progress: the state before the first step.
        source: the data.
    """
    made = {f"setting {name}": repr(getattr(train, name)) for name in SETTINGS}
    data, valid = source.data, source.valid
    made["batches in an epoch"] = str(source.per_epoch)
    made["data"] = data.fingerprint() if hasattr(data, "fingerprint") else summed(data)
    made["validation data"] = "none" if valid is None else summed(valid)
    made["key"] = np.asarray(jax.random.key_data(key)).tolist().__repr__()
    made["start"] = summed(model)
    made["optimizer's start"] = summed(progress.state.opt_state)
    # The step as JAX sees it: another loss, optimizer or learning rate shows here, and nowhere else.
    made["program of a step"] = _program(train, progress, source.sample)
    return made


def summed(tree: PyTree) -> str:
    """Shapes, dtypes and a sum over the bytes of all arrays."""
    digest, rows = hashlib.sha256(), 0
    for path, leaf in _tree.paths(tree).items():
        array = np.ascontiguousarray(_tree.to_numpy(leaf))
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
        rows = max(rows, array.shape[0] if array.ndim else 0)
    return f"{rows} rows at most, sha256 {digest.hexdigest()[:16]}"


def differences(saved: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """A line for each entry that differs."""
    names = [name for name in {**saved, **wanted} if saved.get(name) != wanted.get(name)]
    return [f"{name}: {saved.get(name, 'none')} saved, {wanted.get(name, 'none')} now" for name in names]


def _program(train: Fit, progress: Progress, like: Dataset) -> str:
    def one(progress: Progress, data: Dataset) -> Any:
        return train.counted(progress.state, progress.seen, batch_of(data, None, train.accumulate))

    traced = jax.make_jaxpr(one)(progress, like)
    # Functions are printed with their address, which means nothing in another process; arrays that a loss
    # closes over are not printed.
    text = re.sub(r"0x[0-9a-f]+", "", str(traced.jaxpr))
    return _sum_of((text + summed(list(traced.consts))).encode())


def _sum_of(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"

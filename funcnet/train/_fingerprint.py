"""Identifies a run by everything it is called with, to decide whether a checkpoint belongs to it."""

import hashlib
import re
from typing import Any

import jax
import numpy as np

from funcnet import _mesh, _tree
from funcnet._module import trainable
from funcnet._types import Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.train._epoch import add_totals, build_plan_step
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress
from funcnet.transform._jaxpr import equations

SETTINGS = ("epochs", "batch_size", "shuffle", "stopping", "eval_every", "accumulate", "on_nan")


def fingerprint(plan: Plan, progress: Progress, model: PyTree, source: Any, key: Key) -> dict[str, str]:
    """The properties that must be the same when a run resumes, as strings by name.

    Args:
        plan: the run.
        progress: the progress before the first step.
        model, key: the initial model and the key of the run.
        source: the data.
    """
    identity = {f"setting {name}": repr(getattr(plan, name)) for name in SETTINGS}
    data, valid = source.data, source.valid
    identity["batches in an epoch"] = str(source.per_epoch)
    identity["data"] = data.fingerprint() if hasattr(data, "fingerprint") else digest(data)
    identity["validation data"] = "none" if valid is None else digest(valid)
    identity["key"] = np.asarray(jax.random.key_data(key)).tolist().__repr__()
    identity["start"] = digest(model)
    frozen = [path for path, trains in _tree.paths(trainable(model)).items() if not trains]
    identity["frozen arrays and buffers"] = f"{len(frozen)}, {_digest_bytes(repr(frozen).encode())}"
    identity["optimizer's start"] = digest(progress.state.opt_state)
    # The step as JAX traces it: only this shows a different loss, optimizer or learning rate.
    identity["program of a step"] = _program(plan, progress, source.sample)
    return identity


def digest(tree: PyTree) -> str:
    """A SHA-256 over the shapes, dtypes and bytes of all arrays."""
    sha, rows = hashlib.sha256(), 0
    for path, leaf in _tree.paths(tree).items():
        array = np.ascontiguousarray(_tree.to_numpy(leaf))
        sha.update(f"{path} {array.dtype} {array.shape}".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
        rows = max(rows, array.shape[0] if array.ndim else 0)
    return f"up to {rows} rows, sha256 {sha.hexdigest()[:16]}"


def differences(saved: dict[str, str], current: dict[str, str]) -> list[str]:
    """A line for each entry that differs."""
    names = [name for name in {**saved, **current} if saved.get(name) != current.get(name)]
    return [f"{name}: {saved.get(name, 'none')} saved, {current.get(name, 'none')} now" for name in names]


def _program(plan: Plan, progress: Progress, like: Dataset) -> str:
    """A digest of the step as JAX traces it; on any number of devices it is the same program."""
    take_step = build_plan_step(plan, "every_step")

    def one(progress: Progress, data: Dataset) -> Any:
        state, info = take_step(progress.state, batch_of(data, None, plan.accumulate))
        return state, add_totals(plan, progress.epoch_totals, info)

    structs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (progress, like))
    with _mesh.ignore_mesh():
        return digest_program(jax.make_jaxpr(one)(*structs))


def digest_program(program: Any) -> str:
    """A SHA-256 over a program as JAX prints it, and the arrays in it."""
    return digest_text(f"{program.jaxpr}{digest(_arrays(program))}")


def digest_text(text: str) -> str:
    """A SHA-256 over a text without addresses."""
    return _digest_bytes(without_addresses(text).encode())


def without_addresses(text: str) -> str:
    """A text without the addresses of functions, which differ between processes."""
    return re.sub(r"0x[0-9a-f]+", "", text)


def _arrays(program: Any) -> list[Any]:
    """The arrays in a program and in those inside it, which are not printed: what a loss closes over."""
    arrays = list(program.consts)
    for equation in equations(program.jaxpr):
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "consts")):
            if hasattr(leaf, "consts"):
                arrays += leaf.consts
            elif isinstance(leaf, jax.Array | np.ndarray):
                arrays.append(leaf)
    return arrays


def _digest_bytes(content: bytes) -> str:
    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"

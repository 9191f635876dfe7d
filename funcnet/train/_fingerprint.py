"""Identifies a run by everything it is called with, to decide whether a checkpoint belongs to it."""

import re
from typing import Any

import jax
import numpy as np

from funcnet import _mesh, _tree
from funcnet._module import trainable
from funcnet._types import Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.train._digest import digest, digest_bytes
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
    identity = arguments(plan, model, source.data, source.valid, key)
    identity["batches in an epoch"] = str(source.per_epoch)
    identity["optimizer's start"] = digest(progress.state.opt_state)
    # The step as JAX traces it: only this shows a different loss, optimizer or learning rate.
    identity["program of a step"] = program_of_step(plan, progress, source.sample)
    return identity


def arguments(plan: Plan, model: PyTree, data: Any, valid: Dataset | None, key: Key) -> dict[str, str]:
    """What a training function is called with, and its settings, as strings by name."""
    frozen = [path for path, trains in _tree.paths(trainable(model)).items() if not trains]
    return {
        **{f"setting {name}": repr(getattr(plan, name)) for name in SETTINGS},
        "key": np.asarray(jax.random.key_data(key)).tolist().__repr__(),
        "start": digest(model),
        "frozen arrays and buffers": f"{len(frozen)}, {digest_bytes(repr(frozen).encode())}",
        "data": data.fingerprint() if hasattr(data, "fingerprint") else digest(data),
        "validation data": "none" if valid is None else digest(valid),
    }


def differences(saved: dict[str, str], current: dict[str, str]) -> list[str]:
    """A line for each entry that differs."""
    names = [name for name in {**saved, **current} if saved.get(name) != current.get(name)]
    return [f"{name}: {saved.get(name, 'none')} saved, {current.get(name, 'none')} now" for name in names]


def program_of_step(plan: Plan, progress: Progress, like: Dataset) -> str:
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
    return digest_bytes(without_addresses(text).encode())


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

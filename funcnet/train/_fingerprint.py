"""Identifies a run by everything it is called with, to decide whether a checkpoint belongs to it."""

from typing import Any

import jax
import numpy as np

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import PaddedBatch, batch_of
from funcnet.train._digest import digest, digest_bytes, digest_call
from funcnet.train._epoch import add_totals, build_plan_step
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress

SETTINGS = ("epochs", "batch_size", "shuffle", "stopping", "eval_every", "accumulate", "on_nan")
PROGRAM = "program of a step"


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
    identity[PROGRAM] = program_of_step(plan, progress, source.sample)
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
    """A line for each entry that differs; that of the program only if no other entry explains it."""
    names = [name for name in {**saved, **current} if saved.get(name) != current.get(name)]
    if names == [PROGRAM]:
        return [f"{PROGRAM}: another loss, optimizer or learning rate, or other code of the model"]
    return [
        f"{name}: {saved.get(name, 'none')} saved, {current.get(name, 'none')} now"
        for name in names
        if name != PROGRAM
    ]


def program_of_step(plan: Plan, progress: Progress, like: Dataset) -> str:
    """A digest of the step as JAX traces it; on any number of devices it is the same program."""
    take_step = build_plan_step(plan, "every_step")

    def one(progress: Progress, batch: PaddedBatch) -> Any:
        state, info = take_step(progress.state, batch)
        return state, add_totals(plan, progress.epoch_totals, info)

    # Of a batch and not of the data, whose arrays are longer if several processes have parts of them.
    batch = jax.eval_shape(lambda data: batch_of(data, None, plan.accumulate), like)
    return digest_call(one, progress, batch)[0]

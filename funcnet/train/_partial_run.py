"""A run in parts, inside jit and vmap: its state is returned after some epochs, and comes in again.

The numbers are those of the training function in one call: each part has the settings of the whole run.
"""

from funcnet import _check
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.train._epoch import finish
from funcnet.train._fit import Fit
from funcnet.train._loop import run_until, start
from funcnet.train._plan import Plan
from funcnet.train._result import Run
from funcnet.train._state import TrainState


def start_run(train: Fit, model: PyTree, data: PyTree, key: Key, valid: PyTree) -> TrainState:
    """The state before the first step of `train(model, data, key, valid)`."""
    data, valid = train._prepare(model, data, key, valid)
    return start(_whole_plan(train, data), model, data, key, valid).state


def continue_run(
    train: Fit, state: TrainState, data: Dataset, valid: Dataset, first: Array, until: Array
) -> TrainState:
    """The state of the run after epoch `until`, from that after epoch `first`, as `run_until` says."""
    return run_until(_whole_plan(train, data), state, data, valid, first, until)


def result_so_far(train: Fit, state: TrainState, data: Dataset) -> Run:
    """The result of the run if it ended here; its outcome is RUNNING if epochs are left."""
    plan = _whole_plan(train, data)
    return finish(plan, state, state.epoch >= plan.epochs)


def _whole_plan(train: Fit, data: Dataset) -> Plan:
    """The plan of all epochs, with the optimizer of so many steps."""
    per_epoch = train._plan.steps_per_epoch(len(data))
    _check.num_steps(train.epochs, per_epoch)
    return train._for_steps(train.epochs * per_epoch)._plan

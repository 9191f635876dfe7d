"""When to check for NaN and infinities: at every step, or once at the end.

Checking every gradient and branching on the result costs about 10 % of a small step. If the optimizer's
update propagates non-finite values, as SGD's and Adam's do, a non-finite gradient always leaves non-finite
parameters. So the check runs once, at the end, and the first bad step is searched for only if it fails
(`_chunks`). Optimizers that can hide a NaN (clipping, signs, masks) keep the check at every step.
"""

from typing import Literal, TypeAlias

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Array, PyTree
from funcnet.data import Dataset
from funcnet.train._early_stopping import Outcome
from funcnet.train._plan import Plan
from funcnet.train._state import TrainState
from funcnet.train._transparent import transparent

Check: TypeAlias = Literal["every_step", "deferred", "never"]


def resolve_check(plan: Plan, check: Check, model: PyTree, rows: Dataset) -> Check:
    """`check`, or "every_step" where a deferred check could miss something; "never" where nobody asks.

    Args:
        plan: the run.
        check: "deferred" if the caller can go back to the first bad step.
        model, rows: only their structures, shapes and dtypes matter.
    """
    # Skipping a step requires checking it. And a batch in which no row counts must not move anything, which
    # is a branch in every step.
    if check == "every_step" or plan.on_nan == "skip" or rows.weight is not None:
        return "every_step"
    if plan.on_nan == "ignore":
        return "never"
    parameters = _tree.partition(model, trainable(model))[0]
    return "deferred" if transparent(plan.optimizer, parameters) else "every_step"


def is_finite(state: TrainState) -> Array:
    """Whether the parameters, and the losses of the epochs before, are finite: bool []."""
    parameters = _tree.partition(state.model, trainable(state.model))[0]
    return (state.stop.outcome != Outcome.NOT_FINITE.code) & _tree.all_finite(parameters)

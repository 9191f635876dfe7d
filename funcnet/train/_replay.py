"""Replay a step operation by operation, to find the rows, leaf and operation of a non-finite value."""

import contextlib
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet import _check, _mesh, _parts, _processes, _tree
from funcnet._current_step import at_step
from funcnet._types import PyTree
from funcnet.data import Dataset
from funcnet.data._batches import epoch_rows, gather
from funcnet.train._early_stopping import Outcome
from funcnet.train._epoch import order
from funcnet.train._evaluate import check_data
from funcnet.train._plan import Plan
from funcnet.train._result import Run
from funcnet.train._state import TrainState
from funcnet.train._step import update_function
from funcnet.transform._find_nan import NotFinite, find_nan


@dataclasses.dataclass(frozen=True)
class ReplayedStep:
    """One step in detail.

    Args:
        step: its number, from 0.
        epoch: its epoch, from 0.
        rows: the rows of the data in its batch, in their order, without padding.
        loss: the batch's mean loss.
        leaf: the first leaf that is not finite, "loss" or the path of a gradient, such as
            "gradient of layers[0].weight"; empty if everything is finite.
        cause: the first operation that made a NaN or an infinity from finite numbers; None if there is
            none.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> print(fn.train.ReplayedStep(step=3, epoch=0, rows=np.array([7]), loss=0.5, leaf="", cause=None))
        step 3 (epoch 0): the loss is 0.5, and all gradients are finite.
    """

    step: int
    epoch: int
    rows: np.ndarray
    loss: float
    leaf: str
    cause: NotFinite | None

    def __str__(self) -> str:
        step = f"step {self.step} (epoch {self.epoch})"
        if not self.leaf:
            return f"{step}: the loss is {self.loss:.6g}, and all gradients are finite."
        rows = ", ".join(map(str, self.rows[:20])) + (", …" if len(self.rows) > 20 else "")
        cause = f"\nThe first non-finite value: {self.cause}" if self.cause is not None else ""
        return (
            f"{step}: {self.leaf} is not finite; the loss is {self.loss:.6g}.\n"
            f"Rows of its batch: {rows}.{cause}"
        )


def replay(train: Any, state: TrainState, data: PyTree) -> ReplayedStep:
    """Compute the loss and the gradient of the next step of a state, operation by operation.

    If the outcome of a run is `NOT_FINITE`, this is its first non-finite step: the state holds the weights
    before that step.

    Args:
        train: a training function, returned by `fn.fit`.
        state: `run.state`.
        data: the training data.

    Returns:
        A `ReplayedStep`; print it.

    Raises:
        TypeError: if `train` was not returned by `fn.fit`, or `state` is not a TrainState.
        ValueError: if the data is not valid for a Dataset or for the loss, or its epochs have another
            number of steps.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def loss(model, example, key):
        ...     return model * jnp.sqrt(example)  # NaN for the third row
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=1, batch_size=1, shuffle=False)
        >>> rows = jnp.array([1.0, 4.0, -9.0])
        >>> run = train(jnp.array(1.0), rows, jax.random.key(0))
        >>> step = fn.train.replay(train, run.state, rows)
        >>> step.step, step.rows.tolist(), step.leaf, step.cause.operation
        (2, [2], 'loss', 'sqrt')
    """
    plan = getattr(train, "_plan", None)
    if not isinstance(plan, Plan) or not isinstance(state, TrainState):
        raise TypeError(
            "replay(train, run.state, data) takes a function returned by fn.fit and a TrainState, got "
            f"{_check.describe(train)} and {_check.describe(state)}."
        )
    data = check_data(plan.loss, state.model, data)
    per_epoch = plan.steps_per_epoch(len(data))
    if int(state.step) // per_epoch != int(state.epoch):
        raise ValueError(
            f"data must be the training data of the run, with {per_epoch} steps in each epoch, got a "
            f"state in epoch {int(state.epoch)} after {int(state.step)} steps. With limit_batches, the "
            "Trainer shows the step: fn.fit(..., on_nan='raise')."
        )
    plan = train._for_steps(plan.epochs * per_epoch)._plan
    return replay_step(plan, state, data, per_epoch)


def replay_step(plan: Plan, state: TrainState, data: Dataset, per_epoch: int) -> ReplayedStep:
    """`replay` for a run with `per_epoch` steps in each epoch."""
    step, epoch = int(state.step), int(state.step) // per_epoch
    rows = order(plan, _tree.replace(state, epoch=jnp.int32(epoch)), len(data))
    size = plan.update_size(len(data))
    row, mask, _ = (a[0] for a in epoch_rows(len(data), rows, size, step % per_epoch, 1))
    batch = gather(data, row, mask)
    short = plan.short_size(state.model, len(data))
    if short is not None and not bool(mask[-1]):
        batch = batch.first(short)
    # Each of several processes repeats the whole step, whose every value it can then read.
    state, batch = _processes.to_local((state, batch))
    make_update = update_function(plan.loss, plan.optimizer, plan.accumulate, plan.step)

    def must_be_finite(model: PyTree) -> Any:
        with at_step(state.step):
            update = make_update(_tree.replace(state, model=model), batch)
        return update.must_be_finite, update.totals.means()["loss"]

    with _mesh.ignore_mesh() if _processes.count() > 1 else contextlib.nullcontext():
        values, loss = must_be_finite(state.model)
        leaves = {
            f"{kind} {path}".strip(): leaf
            for kind, tree in values.items()
            for path, leaf in _tree.paths(tree).items()
        }
        broken = next((name for name, leaf in leaves.items() if not bool(jnp.isfinite(leaf).all())), "")
        cause = find_nan(must_be_finite)(state.model) if broken else None
    in_parts = _parts.is_spread(data)  # its `rows` are places on devices
    numbers = row if data.rows is None or in_parts else data.rows[row]
    return ReplayedStep(step, epoch, np.asarray(numbers)[np.asarray(mask)], float(loss), broken, cause)


def raise_if_not_finite(plan: Plan, run: Run, data: Any, per_epoch: int) -> None:
    """Raise a FloatingPointError, with the run as `error.run`, if a run ended at non-finite values."""
    if not np.any(np.asarray(run.state.stopping.outcome) == Outcome.NOT_FINITE.code):
        return
    if isinstance(data, Dataset):
        message = str(replay_step(plan, run.state, data, per_epoch))
    else:
        message = f"step {run.state.step} (epoch {run.state.epoch}): loss or gradient is not finite."
    error = FloatingPointError(message)
    error.run = run  # type: ignore[attr-defined]
    raise error

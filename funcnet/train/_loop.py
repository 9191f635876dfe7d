"""The training loop, in two forms: `run` for transformations, `advance` for a number of steps.

The result does not depend on where `advance` returns to the host: in every chunk, a step is an iteration of
the same compiled loop, whose bounds are arguments.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _mesh, _shard, _tree
from funcnet._forward_only import forward_only
from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch, Dataset
from funcnet.data._batches import PaddedBatch, epoch_rows, gather, num_batches
from funcnet.train._epoch import (
    TracedStep,
    add_totals,
    begin,
    count_epochs,
    end_epoch,
    epoch,
    evaluate_epoch,
    finish,
    order,
    trace_step,
    train_totals_struct,
)
from funcnet.train._finite import Check, ResolvedCheck, is_finite, resolve_check
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress
from funcnet.train._result import Run
from funcnet.train._state import TrainState
from funcnet.transform._objective import RunningTotals, Totals

ROWS_AT_ONCE = 2**20
"""Row numbers of a chunk that are computed at once: 5 MB."""

Batches: TypeAlias = tuple[Array | int, Array | int, Callable[[Array], Batch], Array | int]
"""The index of the first batch, the number of batches, a function that returns a batch by its index, and
the index of the last batch of the epoch."""


def should_continue(plan: Plan, state: TrainState) -> Array:
    """Whether epochs are left and nothing has ended the run: bool []."""
    return state.stopping.is_running() & (state.epoch < plan.epochs)


def run(
    plan: Plan, model: PyTree, data: Dataset, key: Key, valid: Dataset | None, check: Check = "every_step"
) -> tuple[Run, Array]:
    """A whole run, for use inside jit, vmap and grad.

    Without early stopping its length is fixed, and it can be differentiated in reverse mode.

    Args:
        plan: the run.
        model, data, key, valid: the arguments of a training function, checked.
        check: "every_step"; or "deferred", for a caller that repeats the run if the result is not finite.

    Returns:
        The result, and whether it is finite; True if the check was not deferred.
    """
    state = TrainState.create(model, plan.optimizer, key)
    step = trace_step(plan, *_step_of(plan, check, state, data))
    state = begin(plan, state, step.totals, data, valid)
    until_evaluation = _until_evaluation(plan, step, data, valid)
    body: Any = jax.checkpoint(until_evaluation) if plan.remat else until_evaluation
    if plan.stopping is None:
        # A scan would need a lambda, one more frame in the traceback of each loss.
        state = jax.lax.fori_loop(0, plan.evaluations, body, state)
    else:
        has_steps_left = functools.partial(should_continue, plan)
        state = forward_only(jax.lax.while_loop(has_steps_left, body, state))
    return finish(plan, state), is_finite(state) if step.check == "deferred" else jnp.array(True)


def run_until(
    plan: Plan, state: TrainState, data: Dataset, valid: Dataset | None, first: Array, until: Array
) -> TrainState:
    """A part of `run`, from epoch `first` to epoch `until`; non-finite values are checked at every step.

    Args:
        plan: the whole run.
        state: the state after epoch `first`, from `begin` or from this function.
        data, valid: training rows and validation rows.
        first, until: numbers of epochs, int32 [], which may be traced: multiples of `plan.eval_every`, or
            `plan.epochs`. `first` is given since `state.epoch` is less after a step that ended the run.
    """
    step = trace_step(plan, *_step_of(plan, "every_step", state, data))
    body = _until_evaluation(plan, step, data, valid)
    if plan.stopping is None:
        evaluations = -(-(until - first) // plan.eval_every)
        return jax.lax.fori_loop(0, evaluations, body, state)

    def has_steps_left(state: TrainState) -> Array:
        return should_continue(plan, state) & (state.epoch < until)

    return jax.lax.while_loop(has_steps_left, body, state)


def _step_of(
    plan: Plan, check: Check, state: TrainState, data: Dataset
) -> tuple[ResolvedCheck, TrainState, PaddedBatch, int | None]:
    """What `trace_step` takes for a run on these rows; it is called by itself, for a short traceback."""
    short = plan.short_size(state.model, len(data))
    return resolve_check(plan, check, state.model, data), state, first_batch(plan, data), short


def _until_evaluation(
    plan: Plan, step: TracedStep, data: Dataset, valid: Dataset | None
) -> Callable[..., TrainState]:
    """A function that trains from one evaluation to the next, for a `while_loop` or a `fori_loop`."""
    train = functools.partial(epoch, plan, step, data)

    def until_evaluation(*index_and_state: Any) -> TrainState:
        state: TrainState = index_and_state[-1]

        def one_epoch(state: TrainState, _: None) -> tuple[TrainState, None]:
            if plan.epochs % plan.eval_every == 0:
                return train(state), None
            return jax.lax.cond(state.epoch < plan.epochs, train, lambda state: state, state), None

        if plan.eval_every == 1:
            state = train(state)
        else:
            state, _ = jax.lax.scan(one_epoch, state, length=plan.eval_every)
        history, stopping = evaluate_epoch(plan, data, valid, state)
        return _tree.replace(state, history=history, stopping=stopping)

    return until_evaluation


def first_batch(plan: Plan, data: Dataset) -> Any:
    """Shapes and dtypes of a batch of these rows."""
    size = plan.update_size(len(data))

    def batch(data: Dataset) -> Batch:
        return gather(data, *jax.tree.map(lambda a: a[0], epoch_rows(len(data), None, size, count=1)))

    return jax.eval_shape(batch, data)


def start(
    plan: Plan,
    model: PyTree,
    data: Dataset,
    key: Key,
    valid: Dataset | None,
    has_train_data: bool = True,
) -> Progress:
    """The progress before the first step.

    Args:
        plan: the run.
        model, key, valid: the arguments of a training function, checked.
        data: the training rows, or some rows of a stream.
        has_train_data: whether `data` is all training rows.
    """
    state = TrainState.create(model, plan.optimizer, key)
    totals = train_totals_struct(plan, state, data)
    return Progress(
        begin(plan, state, totals, data if has_train_data else None, valid), Totals.zeros(totals)
    )


def advance(
    plan: Plan,
    progress: Progress,
    data: Dataset,
    valid: Dataset | None,
    until: Array | None,
    per_epoch: Array | int,
    check: Check | TracedStep,
) -> tuple[Progress, Array]:
    """Make steps and evaluations until step `until`, or until the run ends.

    Args:
        plan: the run.
        progress: the progress of the run so far.
        data, valid: training rows and validation rows.
        until: the step at which to return, int32; None to run from the start to the end, in which case the
            compiler can know the lengths of the loops.
        per_epoch: steps in an epoch, int32; fewer than the data has if only the first batches are used.
        check: as in `run`; or the step, if it is traced already.

    Returns:
        The new progress, and whether it is finite, as in `run`.
    """
    size = plan.update_size(len(data))
    block = num_batches(len(data), size)
    if until is not None:
        block = min(block, max(ROWS_AT_ONCE // size, 1))

    def has_steps_left(progress: Progress) -> Array:
        continues = should_continue(plan, progress.state)
        return continues if until is None else continues & (progress.state.step < until)

    def next_batches(state: TrainState) -> Batches:
        first: Array | int = 0
        count: Array | int = block
        last = num_batches(len(data), size) - 1
        if until is not None:
            first = state.step - state.epoch * per_epoch
            count = jnp.minimum(jnp.minimum(block, per_epoch - first), until - state.step)
        rows = epoch_rows(len(data), order(plan, state, len(data)), size, first, block)
        return 0, count, lambda i: gather(data, *jax.tree.map(lambda a: a[i], rows)), last - first

    if isinstance(check, str):
        step = trace_step(plan, *_step_of(plan, check, progress.state, data))
    else:
        step = check
    body = functools.partial(part_of_epoch, plan, step, next_batches, data, valid, per_epoch)
    progress = jax.lax.while_loop(has_steps_left, body, progress)
    finite = _is_finite(step, progress, per_epoch)
    progress = Progress(count_epochs(progress.state), progress.epoch_totals)
    return _shard.shard_like_model(progress), finite


def advance_on_batches(
    plan: Plan,
    progress: Progress,
    batches: Batch,
    valid: Dataset | None,
    first: Array,
    count: Array,
    per_epoch: Array,
    check: Check,
    short: int | None = None,
) -> tuple[Progress, Array]:
    """`advance` over `count` of the batches that the host has read, [batches, rows, ...], from `first`.

    With `short`, the last of them has so many rows, and must not be padded for this model.
    """
    last = jnp.sum(batches.weight[:, 0] > 0) - 1  # a chunk may have more batches, which are not used

    def next_batches(_: TrainState) -> Batches:
        return first, count, lambda i: _mesh.shard_rows(jax.tree.map(lambda a: a[i], batches)), last

    rows = Dataset(jax.tree.map(lambda a: a[0], batches.example))
    batch = jax.eval_shape(next_batches(progress.state)[2], first)
    resolved = resolve_check(plan, check, progress.state.model, rows)
    step = trace_step(plan, resolved, progress.state, batch, short)
    progress = part_of_epoch(plan, step, next_batches, None, valid, per_epoch, progress)
    finite = _is_finite(step, progress, per_epoch)
    progress = Progress(count_epochs(progress.state), progress.epoch_totals)
    return _shard.shard_like_model(progress), finite


def part_of_epoch(
    plan: Plan,
    step: TracedStep,
    next_batches: Callable[[TrainState], Batches],
    data: Dataset | None,
    valid: Dataset | None,
    per_epoch: Array | int,
    progress: Progress,
) -> Progress:
    """Make some steps of one epoch; after its last step, record its means, and evaluate if that is due."""
    first, count, batch_at, last = next_batches(progress.state)

    def one_step(i: Array, progress: Progress) -> Progress:
        epoch_totals = totals_before_step(progress, per_epoch)
        state, batch = progress.state, batch_at(i)
        if step.take_short is None:
            state, info = step.take(state, batch)
        else:
            state, info = jax.lax.cond(i == last, step.take_short, step.take, state, batch)
        return Progress(state, add_totals(plan, epoch_totals, info))

    progress = jax.lax.fori_loop(first, first + count, one_step, progress)
    state = progress.state
    ends = should_continue(plan, state) & (state.step == (state.epoch + 1) * per_epoch)
    # No branch, since this is cheap: without one, XLA can start the next epoch in parallel.
    state = end_epoch(step, state, progress.epoch_totals, ends)
    if plan.evaluates(valid):
        due = ends & ((state.epoch % plan.eval_every == 0) | (state.epoch == plan.epochs))
        evaluate = functools.partial(evaluate_epoch, plan, data, valid, state)
        # The parameters would be copied if they were passed through the branch.
        history, stopping = jax.lax.cond(due, evaluate, lambda: (state.history, state.stopping))
        state = _tree.replace(state, history=history, stopping=stopping)
    return Progress(state, progress.epoch_totals)


def whole_run(
    plan: Plan, model: PyTree, data: Dataset, key: Key, valid: Dataset | None
) -> tuple[Run, Array]:
    """`start`, `advance` and `finish` at once, with a deferred check: a run outside of transformations."""
    state = TrainState.create(model, plan.optimizer, key)
    step = trace_step(plan, *_step_of(plan, "deferred", state, data))
    progress = Progress(begin(plan, state, step.totals, data, valid), Totals.zeros(step.totals))
    per_epoch = plan.steps_per_epoch(len(data))
    progress, finite = advance(plan, progress, data, valid, None, per_epoch, step)
    return finish(plan, progress.state), finite


def totals_before_step(progress: Progress, per_epoch: Array | int) -> RunningTotals:
    """The totals before the next step; zero if that step is the first of its epoch."""
    first = progress.state.step == progress.state.epoch * per_epoch
    return jax.tree.map(lambda a: jnp.where(first, jnp.zeros_like(a), a), progress.epoch_totals)


def _is_finite(step: TracedStep, progress: Progress, per_epoch: Array | int) -> Array:
    if step.check != "deferred":
        return jnp.array(True)
    loss = totals_before_step(progress, per_epoch).unpack(step.totals).sums["loss"]
    return is_finite(progress.state) & jnp.isfinite(loss)

"""The parts of a run, as pure functions: its step, its beginning, an epoch, its end, the result."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _check, _shard, _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch, Dataset
from funcnet.data._batches import PaddedBatch, Rows, batch_of, epoch_rows, gather
from funcnet.data._shuffle import Shuffle, epoch_order
from funcnet.train._early_stopping import EarlyStoppingState, Outcome, initial_state
from funcnet.train._evaluate import total
from funcnet.train._finite import ResolvedCheck
from funcnet.train._plan import Plan
from funcnet.train._result import Run, evaluated_model
from funcnet.train._state import History, TrainState
from funcnet.train._step import Step, build_step
from funcnet.train._step_info import StepInfo
from funcnet.transform._jaxpr import as_function
from funcnet.transform._objective import RunningTotals, Totals, objective


class TracedStep(NamedTuple):
    """The step of a run as a program, for which Python has run the loss once.

    Args:
        take: the step.
        check: the check for non-finite values that it makes.
        totals: shapes and dtypes of the totals of a batch.
        take_short: the step of the last batch of an epoch without its padding; None if there is none, or it
            may be padded.
    """

    take: Step
    check: ResolvedCheck
    totals: Totals
    take_short: Step | None = None


def trace_step(
    plan: Plan, check: ResolvedCheck, state: TrainState, batch: PaddedBatch, short: int | None = None
) -> TracedStep:
    """Trace the step of a run, for a state and a batch of these shapes and dtypes.

    With `short`, the rows of a short last batch, its step is traced, too.
    """

    def only_used(state: TrainState) -> TrainState:
        stopping = _tree.replace(initial_state(), outcome=state.stopping.outcome)
        return _tree.replace(state, stopping=stopping, history=None)

    take = build_plan_step(plan, check)
    program, structs = jax.make_jaxpr(take, return_shape=True)(only_used(state), batch)
    traced, (_, info) = as_function(program, structs), structs

    def take_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepInfo]:
        new, info = traced(only_used(state), batch)
        stopping = _tree.replace(state.stopping, outcome=new.stopping.outcome)
        return _tree.replace(new, stopping=stopping, history=state.history), info

    step = TracedStep(take_step, check, info.totals)
    if short is None:
        return step
    of_rows = trace_step(plan, check, state, jax.eval_shape(lambda batch: batch.first(short), batch))
    return step._replace(take_short=lambda state, batch: of_rows.take(state, batch.first(short)))


def build_plan_step(plan: Plan, check: ResolvedCheck) -> Step:
    """The step of a run, with the check for non-finite values that `resolve_check` returned."""
    on_nan = "stop" if plan.on_nan == "raise" else plan.on_nan
    return build_step(
        plan.loss,
        plan.optimizer,
        plan.accumulate,
        on_nan if check == "every_step" else None,
        plan.step,
    )


def train_totals_struct(plan: Plan, state: TrainState, data: Dataset) -> Totals:
    """Shapes and dtypes of the totals of a training batch; nothing is computed."""
    if plan.step is None:
        return totals_struct(plan, state.model, data, state.key)
    batch = jax.eval_shape(lambda data: batch_of(data, None, plan.update_size(len(data))), data)
    return jax.eval_shape(build_plan_step(plan, "every_step"), state, batch)[1].totals


def totals_struct(plan: Plan, model: PyTree, data: Dataset, key: Key | None) -> Totals:
    """Shapes and dtypes of the totals of a batch that is evaluated; nothing is computed."""

    def totals(parameters: PyTree, rest: PyTree, data: Dataset) -> Totals:
        return objective(parameters, rest, plan.loss, batch_of(data, None, 1), key)[1]

    return jax.eval_shape(totals, *_tree.partition(model, trainable(model)), data)


def begin(
    plan: Plan,
    state: TrainState,
    totals: Totals,
    data: Dataset | None,
    valid: Dataset | None,
) -> TrainState:
    """The state of `TrainState.create` with an empty history, before the first epoch.

    Args:
        plan: the run.
        state: the state before the first step.
        totals: shapes and dtypes of the totals of a training batch.
        data: the training rows; None if they are not in memory, so that `train_loss` can't be computed.
        valid: the validation rows; only shapes and dtypes matter.
    """
    values = dict(jax.eval_shape(Totals.means, totals))
    evaluations: dict[str, Any] = {}
    if valid is not None:
        held_out = jax.eval_shape(Totals.means, totals_struct(plan, state.model, valid, None))
        evaluations = {f"val_{name}": struct for name, struct in held_out.items()}
        evaluations |= {"train_loss": held_out["loss"]} if data is not None else {}
    if plan.probe is not None:
        evaluations |= jax.eval_shape(functools.partial(plan.probe, plan.optimizer), state, data)
    for name, struct in {**values, **evaluations}.items():
        _check.history_value(name, struct)
    _check.history_size(plan.epochs, [*values.values(), *evaluations.values()])
    if plan.stopping is not None:
        _check.monitored_metric(plan.stopping.monitor, {**values, **evaluations}, valid is not None)
        state = _tree.replace(state, stopping=plan.stopping.init(state.model))
    state = _tree.replace(state, history=History.empty(values, evaluations, plan.epochs))
    return _shard.shard_like_model(state)


def order(plan: Plan, state: TrainState, rows: int) -> Shuffle | None:
    """The order of the rows in the current epoch; None for the order of the data."""
    return epoch_order(state.key, state.epoch, rows) if plan.shuffle else None


def epoch(plan: Plan, step: TracedStep, data: Dataset, state: TrainState) -> TrainState:
    """One pass over the data: a scan over its steps, then their means."""
    rows = epoch_rows(len(data), order(plan, state, len(data)), plan.update_size(len(data)))
    last = jax.tree.map(lambda a: a[-1], rows)
    if step.take_short is not None:
        rows = jax.tree.map(lambda a: a[:-1], rows)

    def one_step(
        carry: tuple[TrainState, RunningTotals], rows: Rows
    ) -> tuple[tuple[TrainState, RunningTotals], None]:
        state, info = step.take(carry[0], gather(data, *rows))
        return (state, add_totals(plan, carry[1], info)), None

    (state, epoch_totals), _ = jax.lax.scan(one_step, (state, Totals.zeros(step.totals)), rows)
    if step.take_short is not None:
        state, info = step.take_short(state, gather(data, *last))
        epoch_totals = add_totals(plan, epoch_totals, info)
    return end_epoch(step, state, epoch_totals)


def add_totals(plan: Plan, epoch_totals: RunningTotals, info: StepInfo) -> RunningTotals:
    """The totals of an epoch after one more step."""
    totals = info.totals.pack()
    if plan.on_nan == "skip":  # a skipped step does not contribute to the means, either
        totals = jnp.where(info.finite, totals, jnp.zeros_like(totals))
    return epoch_totals.add(totals)


def end_epoch(
    step: TracedStep, state: TrainState, epoch_totals: RunningTotals, ends: Array | bool = True
) -> TrainState:
    """The state with the epoch's means in its history, if the epoch ends here and the run continues.

    A deferred check ends the run here if the mean loss is not finite.
    """
    means = epoch_totals.unpack(step.totals).means()
    if step.check == "deferred":
        stopping = state.stopping.end(ends & ~jnp.isfinite(means["loss"]), Outcome.NOT_FINITE)
        state = _tree.replace(state, stopping=stopping)
    finished = ends & state.stopping.is_running()
    history = state.history.record(state.epoch, means, finished)
    return _tree.replace(state, epoch=state.epoch + finished.astype(jnp.int32), history=history)


def count_epochs(state: TrainState) -> TrainState:
    """The state whose history knows how many epochs it holds: before somebody reads it.

    In the loop it would be one more operation in each epoch.
    """
    return _tree.replace(state, history=_tree.replace(state.history, num_epochs=state.epoch))


def evaluate_epoch(
    plan: Plan, data: Dataset | None, valid: Dataset | None, state: TrainState
) -> tuple[History, EarlyStoppingState]:
    """The history and the state of early stopping after evaluating the epoch that has just ended."""
    epoch, running, model = state.epoch - 1, state.stopping.is_running(), evaluated_model(state)
    values: dict[str, Array] = {}
    if valid is not None:
        held_out = total(plan.loss, model, valid, plan.evaluation_size(len(valid))).means()
        values = {f"val_{name}": value for name, value in held_out.items()}
        if data is not None:
            size = plan.evaluation_size(len(data))
            totals = total(plan.loss, model, data, size, keep_rows=False)
            values["train_loss"] = totals.means()["loss"]
    if plan.probe is not None:
        values |= plan.probe(plan.optimizer, count_epochs(state), data)
    history = state.history.record_evaluation(epoch, values, running) if values else state.history
    if plan.stopping is None:
        return history, state.stopping
    stopping = plan.stopping.update(state.stopping, epoch, model, history.at(epoch))
    return history, _tree.select(running, stopping, state.stopping)


def finish(plan: Plan, state: TrainState, ended: Array | None = None) -> Run:
    """The result of a run that ends in this state: FINISHED, unless it had already ended.

    Its model is the best one if early stopping restores it, else the last. `ended` is False for the result
    of a run that continues: bool [], True if None.
    """
    state = count_epochs(state)
    ended = jnp.array(True) if ended is None else ended
    stopping, model = state.stopping.end(ended, Outcome.FINISHED), evaluated_model(state)
    if plan.stopping is not None and plan.stopping.restore_best:
        model = _tree.select(stopping.best_epoch >= 0, stopping.model, model)
    return _shard.shard_like_model(Run(model, _tree.replace(state, stopping=stopping)))

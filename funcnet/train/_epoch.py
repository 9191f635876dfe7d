"""The parts of a run, as pure functions: its beginning, an epoch, its end, the result."""

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import Rows, batch_of, epoch_rows, gather
from funcnet.data._shuffle import Shuffle, epoch_order
from funcnet.train._early_stopping import EarlyStoppingState, Outcome
from funcnet.train._evaluate import total
from funcnet.train._finite import ResolvedCheck
from funcnet.train._plan import Plan
from funcnet.train._result import Run, evaluated_model
from funcnet.train._state import History, TrainState
from funcnet.train._step import Step, StepInfo, build_step
from funcnet.transform._objective import Totals, objective


def init(
    plan: Plan,
    model: PyTree,
    data: Dataset,
    key: Key,
    valid: Dataset | None,
    has_train_data: bool = True,
) -> TrainState:
    """The state before the first epoch, with an empty history.

    Args:
        plan: the run.
        model, key: the initial model and the key of the run.
        data: the training rows, or some rows of a stream; only shapes and dtypes matter.
        valid: the validation rows; only shapes and dtypes matter.
        has_train_data: whether all training rows are in memory, so that `train_loss` can be computed.
    """
    state = TrainState.create(model, plan.optimizer, key)
    values = dict(jax.eval_shape(Totals.means, totals_struct(plan, model, data, key)))
    if valid is not None:
        held_out = jax.eval_shape(Totals.means, totals_struct(plan, model, valid, None))
        values |= {f"val_{name}": struct for name, struct in held_out.items()}
        values |= {"train_loss": held_out["loss"]} if has_train_data else {}
    if plan.probe is not None:
        values |= jax.eval_shape(plan.probe, state, data if has_train_data else None)
    for name, struct in values.items():
        _check.history_value(name, struct)
    if plan.stopping is not None:
        _check.monitored_metric(plan.stopping.monitor, values, valid is not None)
        state = _tree.replace(state, stopping=plan.stopping.init(state.model))
    return _tree.replace(state, history=History.empty(values, plan.epochs))


def totals_struct(plan: Plan, model: PyTree, data: Dataset, key: Key | None) -> Totals:
    """Shapes and dtypes of a batch's totals; nothing is computed."""

    def totals(parameters: PyTree, rest: PyTree, data: Dataset) -> Totals:
        return objective(parameters, rest, plan.loss, batch_of(data, None, 1), key)[1]

    return jax.eval_shape(totals, *_tree.partition(model, trainable(model)), data)


def zero_totals(struct: Totals) -> Array:
    """The packed totals of no examples."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), struct).pack()


def build_plan_step(plan: Plan, check: ResolvedCheck) -> Step:
    """The step of a run, with the check for non-finite values that `resolve_check` returned."""
    on_nan = "stop" if plan.on_nan == "raise" else plan.on_nan
    return build_step(plan.loss, plan.optimizer, plan.accumulate, on_nan if check == "every_step" else None)


def order(plan: Plan, state: TrainState, rows: int) -> Shuffle | None:
    """The order of the rows in the current epoch; None for the order of the data."""
    return epoch_order(state.key, state.epoch, rows) if plan.shuffle else None


def epoch(
    plan: Plan, check: ResolvedCheck, take_step: Step, struct: Totals, data: Dataset, state: TrainState
) -> TrainState:
    """One pass over the data: a scan over its steps, then their means."""
    rows = epoch_rows(len(data), order(plan, state, len(data)), plan.update_size(len(data)))

    def one_step(carry: tuple[TrainState, Array], rows: Rows) -> tuple[tuple[TrainState, Array], None]:
        state, info = take_step(carry[0], gather(data, *rows))
        return (state, add_totals(plan, carry[1], info)), None

    (state, epoch_totals), _ = jax.lax.scan(one_step, (state, zero_totals(struct)), rows)
    return end_epoch(check, struct, state, epoch_totals)


def add_totals(plan: Plan, epoch_totals: Array, info: StepInfo) -> Array:
    """The packed totals of an epoch after one more step."""
    totals = info.totals.pack()
    if plan.on_nan == "skip":  # a skipped step does not contribute to the means, either
        totals = jnp.where(info.finite, totals, jnp.zeros_like(totals))
    return epoch_totals + totals


def end_epoch(
    check: ResolvedCheck, struct: Totals, state: TrainState, epoch_totals: Array, ends: Array | bool = True
) -> TrainState:
    """The state with the epoch's means in its history, if the epoch ends here and the run continues.

    A deferred check ends the run here if the mean loss is not finite.
    """
    means = Totals.unpack(struct, epoch_totals).means()
    if check == "deferred":
        stopping = state.stopping.end(ends & ~jnp.isfinite(means["loss"]), Outcome.NOT_FINITE)
        state = _tree.replace(state, stopping=stopping)
    finished = ends & state.stopping.is_running()
    return _tree.replace(
        state,
        epoch=state.epoch + finished.astype(jnp.int32),
        history=state.history.record(state.epoch, means, finished),
    )


def evaluate_epoch(
    plan: Plan, data: Dataset | None, valid: Dataset | None, state: TrainState
) -> tuple[History, EarlyStoppingState]:
    """The history and the state of early stopping after evaluating the epoch that has just ended."""
    epoch, running, model = state.epoch - 1, state.stopping.is_running(), evaluated_model(state)
    history = state.history
    if valid is not None:
        held_out = total(plan.loss, model, valid, plan.evaluation_size(len(valid))).means()
        values = {f"val_{name}": value for name, value in held_out.items()}
        if data is not None:
            totals = total(plan.loss, model, data, plan.evaluation_size(len(data)))
            values["train_loss"] = totals.means()["loss"]
        history = history.record(epoch, values, running)
    if plan.probe is not None:
        history = history.record(epoch, plan.probe(state, data), running)
    if plan.stopping is None:
        return history, state.stopping
    values = {name: array[epoch] for name, array in history.items()}
    stopping = plan.stopping.update(state.stopping, epoch, model, values)
    return history, _tree.select(running, stopping, state.stopping)


def finish(plan: Plan, state: TrainState) -> Run:
    """The result of a run that ends in this state: FINISHED, unless it had already ended.

    Its model is the best one if early stopping restores it, else the last.
    """
    stopping, model = state.stopping.end(jnp.array(True), Outcome.FINISHED), evaluated_model(state)
    if plan.stopping is not None and plan.stopping.restore_best:
        model = _tree.select(stopping.best_epoch >= 0, stopping.model, model)
    return Run(model, _tree.replace(state, stopping=stopping))

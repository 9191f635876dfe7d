"""One optimizer update, as a pure function of state and batch."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _parts, _tree
from funcnet._current_step import at_step
from funcnet._module import check_model, needs_batch, trainable
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Batch, Dataset
from funcnet.data._batches import FullBatch, PaddedBatch
from funcnet.train._early_stopping import Outcome
from funcnet.train._optimizer import check_opt_state
from funcnet.train._own_step import OwnStep, own_update
from funcnet.train._players import PlayersOptimizer, as_transformation, check_players
from funcnet.train._players_update import players_update
from funcnet.train._resolve_optimizer import check_optimizer, of_steps
from funcnet.train._state import TrainState
from funcnet.train._step_info import StepInfo
from funcnet.train._update import Update, gradient_update

OnNaN: TypeAlias = Literal["stop", "skip", "ignore"]
Step: TypeAlias = Callable[[TrainState, PyTree], tuple[TrainState, StepInfo]]


@_check.usage("step = fn.step(loss, optax.adam(1e-3)); state, info = step(state, (x, y))")
def step(
    loss: Loss,
    optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
    *,
    accumulate: int = 1,
    on_nan: OnNaN = "stop",
) -> Step:
    """The training step of a loss and an optimizer: `(state, batch) -> (state, info)`.

    Args:
        loss: of one example, `loss(model, example, key)`.
        optimizer: any optax GradientTransformation. It gets what its update asks for: value, gradient and
            value function of the batch (line searches, plateau schedules, Sophia, SAM), or the gradient of
            each example (`optax.contrib.dpsgd`, which divides by the rows of a batch, padding included).
            For `fn.losses.players`, a dictionary with an optimizer for each player.
        accumulate: the number of equal parts into which the batch is split, to save memory: they are
            computed one after another, and the update is that of the whole batch.
        on_nan: what to do if the loss or a gradient is not finite. "stop": this and every later step leave
            the state unchanged; "skip": skip this update; "ignore": apply it. The update itself is not
            checked: if it makes weights infinite, the loss of the next step is not finite.

    Returns:
        A pure function. Its batch is a `fn.data.Batch`, or an example with a leading axis, whose rows all
        have weight 1. Example i of a step draws from `state.key`, `state.step` and i. A network of another
        library with a state, such as running statistics, must not get rows of weight 0, which would enter
        them: `fn.data.batches(..., pad=False)`. It raises an error for them, or in a program in which the
        weights of a batch of your own are not known, its loss is NaN.

    Raises:
        TypeError: if `loss` is not a function or `optimizer` not an optax transformation.
        ValueError: if `on_nan` is unknown, `accumulate` is below 1 or does not divide the batch, the loss
            is not a scalar, or a batch is padded for a network that needs its whole batch.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> state = fn.TrainState.create(model, optax.sgd(0.1), jax.random.key(1))
        >>> step = jax.jit(fn.step(loss, optax.sgd(0.1)))
        >>> state, info = step(state, (jnp.ones((1, 1)), jnp.array([2.0])))
        >>> float(info.loss), round(float(state.model.linear.bias), 4), int(state.step)
        (4.0, 0.4, 1)
    """
    check_step(loss, optimizer, accumulate)
    if of_steps(optimizer):
        raise TypeError(
            "optimizer must not be a function of the number of steps, which a step does not know. Call it: "
            "optimizer(steps=1_000)."
        )
    _check.choice("on_nan", on_nan, ("stop", "skip", "ignore"))
    transformation = as_transformation(optimizer)
    take_step = build_step(loss, transformation, accumulate, on_nan)

    @_check.usage("state, info = step(state, (x, y))")
    def checked_step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepInfo]:
        _check_state(state, transformation)
        check_accumulate(state.model, accumulate)
        _check_padding(state.model, batch)
        return take_step(state, batch)

    return checked_step


def _check_state(state: Any, optimizer: optax.GradientTransformation) -> None:
    """Check that a state holds a model, and what the optimizer makes of its parameters."""
    if not isinstance(state, TrainState):
        raise TypeError(
            f"state must be a TrainState, got {_check.describe(state)}. Try "
            "fn.TrainState.create(model, optimizer, key)."
        )
    check_model(state.model)
    parameters, _ = _tree.partition(state.model, trainable(state.model))
    check_opt_state(optimizer, state.opt_state, parameters)
    for path, leaf in _tree.paths(state.opt_state).items():
        if not _tree.is_key(leaf):
            _check.array(f"opt_state{path}", leaf)


def check_step(loss: Any, optimizer: Any, accumulate: Any) -> None:
    """Check the arguments of `step`."""
    _check.loss(loss)
    check_players(loss, optimizer)
    check_optimizer(optimizer)
    accumulate = _check.positive("accumulate", accumulate)
    if accumulate > 1 and getattr(loss, "batchwise", False):
        raise ValueError("a batchwise loss needs its whole batch at once: use accumulate=1.")


def check_accumulate(model: PyTree, accumulate: int) -> None:
    """Check that micro-batches are not asked for if the model needs its whole batch."""
    if accumulate > 1 and needs_batch(model):
        raise ValueError(
            f"accumulate must be 1 for a network that needs its whole batch in training, such as one of "
            f"another library with running statistics, got {accumulate}. Choose a larger batch_size."
        )


def _check_padding(model: PyTree, batch: PyTree) -> None:
    """Check that a batch is not padded if the model needs its whole batch."""
    if not isinstance(batch, Batch) or isinstance(batch, FullBatch) or not needs_batch(model):
        return
    if not _tree.is_concrete(batch.weight):
        has_padding = isinstance(batch, PaddedBatch)  # from `batches`, and possibly the last one
    else:
        has_padding = bool(((batch.weight == 0).any()) & (batch.total_weight > 0))
    if has_padding:
        raise ValueError(
            "batch must not be padded with rows of weight 0 for a network that needs its whole batch in "
            "training: they would enter its state, such as running statistics. Write "
            "fn.data.batches(data, batch_size, key, epoch, pad=False), and leave out rows of weight 0."
        )


def check_no_zero_weight(model: PyTree, data: Dataset) -> None:
    """Check that no training row has weight 0 if the model needs its whole batch."""
    if data.weight is None or not needs_batch(model) or not _tree.is_concrete((data.weight, data.rows)):
        return
    if _parts.is_spread(data.weight):
        weight = _parts.local_part(data.weight)
    else:
        weight = np.asarray(data.weight) if data.rows is None else np.asarray(data.weight)[data.rows]
    if zeros := int((weight == 0).sum()):
        raise ValueError(
            "weight must be above 0 for a network that needs its whole batch in training, got "
            f"{zeros} rows of weight 0: they would enter its state, such as running statistics. Leave them "
            "out: fn.data.take(data, np.flatnonzero(weight))."
        )


def build_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    on_nan: OnNaN | None,
    own_step: OwnStep | None = None,
) -> Step:
    """`step` without its checks.

    Args:
        loss, optimizer, accumulate: as for `step`.
        on_nan: as for `step`; or None for a step without a check and a branch, which always applies its
            update. It requires a run that has not ended and batches of positive total weight.
        own_step: a custom step, in place of the gradient of the loss.
    """
    make_update = update_function(loss, optimizer, accumulate, own_step)

    def take_step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepInfo]:
        batch = _as_batch(batch)
        parameters, rest = _tree.partition(state.model, trainable(state.model))
        with at_step(state.step):
            update = make_update(state, batch)

        def apply_update() -> _Changes:
            with at_step(state.step):  # a line search computes the loss again
                updated = update.apply()
            return _Changes(*updated, state.step + 1, state.stopping.outcome, update.buffers)

        if on_nan is None:
            return apply_update().apply_to(state, rest), StepInfo(update.totals, jnp.array(True))

        # If all weights are zero, the rows may hold any values: non-finite results are not errors.
        total_weight = batch.total_weight
        finite = on_nan == "ignore" or (total_weight == 0) | _tree.all_finite(update.must_be_finite)

        def keep() -> _Changes:
            stopping = state.stopping
            if on_nan == "stop":
                stopping = stopping.end(~jnp.asarray(finite), Outcome.NOT_FINITE)
            step = state.step + jnp.int32(stopping.is_running())  # skipped steps are counted
            buffers = None if update.buffers is None else rest
            return _Changes(parameters, state.opt_state, step, stopping.outcome, buffers)

        # If all weights are zero, nothing changes, not even the momentum. This is a branch because a select
        # keeps the old and the new values alive, which requires copies.
        changes = jax.lax.cond(
            (total_weight > 0) & finite & state.stopping.is_running(), apply_update, keep
        )
        return changes.apply_to(state, rest), StepInfo(update.totals, jnp.asarray(finite))

    return take_step


def update_function(
    loss: Loss, optimizer: optax.GradientTransformation, accumulate: int, own_step: OwnStep | None
) -> Callable[[TrainState, Batch], Update]:
    """What one step computes: that of the user, of several players, or of a loss and its gradient."""
    if own_step is not None:
        return own_update(own_step)
    if isinstance(optimizer, PlayersOptimizer):
        return players_update(loss, optimizer, accumulate)
    return gradient_update(loss, optimizer, accumulate)


class _Changes(NamedTuple):
    """The parts of the state that a step may change. Only they pass through its branch, so that the rest is
    known to be the same in every step."""

    parameters: PyTree
    opt_state: PyTree
    step: Array
    outcome: Array
    rest: PyTree

    def apply_to(self, state: TrainState, rest: PyTree) -> TrainState:
        """The state with these changes, and with `rest` where no buffer is updated."""
        return _tree.replace(
            state,
            model=_tree.combine(self.parameters, rest if self.rest is None else self.rest),
            opt_state=self.opt_state,
            step=self.step,
            stopping=_tree.replace(state.stopping, outcome=self.outcome),
        )


def _as_batch(batch: PyTree) -> PaddedBatch:
    if isinstance(batch, PaddedBatch):
        return batch
    if isinstance(batch, Batch):
        return PaddedBatch.from_batch(batch)
    arrays = {path: _check.jax_array(f"batch{path}", leaf) for path, leaf in _tree.paths(batch).items()}
    rows = _check.num_rows("batch", *arrays.values())
    return FullBatch(jax.tree.unflatten(jax.tree.structure(batch), arrays.values()), jnp.ones(rows))

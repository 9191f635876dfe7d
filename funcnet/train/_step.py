"""One optimizer update, as a pure function of state and batch."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _keys, _tree
from funcnet._module import check_model, trainable
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.data._batches import PaddedBatch
from funcnet.train._early_stopping import Outcome
from funcnet.train._optimizer import (
    aggregates_examples,
    extra_arguments,
    init_optimizer,
    update_optimizer,
)
from funcnet.train._state import TrainState
from funcnet.transform._objective import Totals, objective, objective_with_buffers

OnNaN: TypeAlias = Literal["stop", "skip", "ignore"]


@_tree.node
class StepInfo:
    """Loss and metrics of one step, which are not part of the state.

    Args:
        totals: weighted sums over the batch, before the update.
        finite: whether loss and gradient were finite, bool [].

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def loss(model, example, key):
        ...     return (model - example) ** 2
        >>> state = fn.TrainState.create(jnp.array(0.0), optax.sgd(0.1), jax.random.key(0))
        >>> _, info = fn.step(loss, optax.sgd(0.1))(state, jnp.array([1.0, 3.0]))
        >>> float(info.loss), float(info.weight), bool(info.finite)
        (5.0, 2.0, True)
    """

    totals: Totals
    finite: Array

    @property
    def loss(self) -> Array:
        """The batch's mean loss, in the loss's units; NaN if all weights are zero."""
        return self.metrics["loss"]

    @property
    def metrics(self) -> dict[str, Array]:
        """The batch's mean loss and metrics, by name; NaN if all weights are zero."""
        return self.totals.means()

    @property
    def weight(self) -> Array:
        """The sum of the batch's weights."""
        return self.totals.weight


Step: TypeAlias = Callable[[TrainState, PyTree], tuple[TrainState, StepInfo]]


@_check.usage("step = fn.step(loss, optax.adam(1e-3)); state, info = step(state, (x, y))")
def step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
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
        accumulate: the number of equal parts into which the batch is split, to save memory: they are
            computed one after another, and the update is that of the whole batch.
        on_nan: what to do if the loss or a gradient is not finite. "stop": this and every later step leave
            the state unchanged; "skip": skip this update; "ignore": apply it. The update itself is not
            checked: if it makes weights infinite, the loss of the next step is not finite.

    Returns:
        A pure function. Its batch is a `fn.data.Batch`, or an example with a leading axis, whose rows all
        have weight 1. Example i of a step draws from `state.key`, `state.step` and i.

    Raises:
        TypeError: if `loss` is not a function or `optimizer` not an optax transformation.
        ValueError: if `on_nan` is unknown, `accumulate` is below 1 or does not divide the batch, or the
            loss is not a scalar.

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
    _check.choice("on_nan", on_nan, ("stop", "skip", "ignore"))
    take_step = build_step(loss, optimizer, accumulate, on_nan)

    @_check.usage("state, info = step(state, (x, y))")
    def checked_step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepInfo]:
        _check_state(state, optimizer)
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
    expected: Any = jax.tree.structure(jax.eval_shape(lambda p: init_optimizer(optimizer, p), parameters))
    if jax.tree.structure(state.opt_state) != expected:
        raise ValueError(
            "opt_state must be the state of this optimizer for the model's parameters, got "
            f"{_check.describe(state.opt_state)}. Try fn.TrainState.create(model, optimizer, key)."
        )
    for path, leaf in _tree.paths(state.opt_state).items():
        if not _tree.is_key(leaf):
            _check.array(f"opt_state{path}", leaf)


def check_step(loss: Any, optimizer: Any, accumulate: Any) -> None:
    """Check the arguments of `step`."""
    _check.loss(loss)
    _check.optimizer(optimizer)
    accumulate = _check.positive("accumulate", accumulate)
    if accumulate > 1 and getattr(loss, "batchwise", False):
        raise ValueError("a batchwise loss needs its whole batch at once: use accumulate=1.")


def build_step(
    loss: Loss, optimizer: optax.GradientTransformation, accumulate: int, on_nan: OnNaN | None
) -> Step:
    """`step` without its checks.

    Args:
        loss, optimizer, accumulate: as for `step`.
        on_nan: as for `step`; or None for a step without a check and a branch, which always applies its
            update. It requires a run that has not ended and batches of positive total weight.
    """

    def take_step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepInfo]:
        batch = _as_batch(batch)
        key = step_key(state)
        parameters, rest = _tree.partition(state.model, trainable(state.model))
        total_weight = batch.total_weight
        if aggregates_examples(state.opt_state):
            result = _differentiate_examples(parameters, rest, loss, batch, key, accumulate)
        elif accumulate == 1:
            result = _differentiate(parameters, rest, loss, batch, key, total_weight, 0)
        else:
            result = _accumulate(parameters, rest, loss, batch, key, accumulate)
        (value, (totals, new_rest)), grads = result
        buffers = None if new_rest is rest else new_rest

        def apply_update() -> _Changes:
            value_fn = lambda p: objective(p, rest, loss, batch, key, total_weight)[0]  # noqa: E731
            extra = extra_arguments(value, grads, value_fn)
            updates, opt_state = update_optimizer(optimizer, grads, state.opt_state, parameters, extra)
            moved = optax.apply_updates(parameters, updates)
            return _Changes(moved, opt_state, state.step + 1, state.stopping.outcome, buffers)

        if on_nan is None:
            return apply_update().made_in(state, rest), StepInfo(totals, jnp.array(True))

        # If all weights are zero, the rows may hold any values: non-finite results are not errors.
        finite = on_nan == "ignore" or (total_weight == 0) | _tree.all_finite((totals.sums["loss"], grads))

        def keep() -> _Changes:
            stopping = state.stopping
            if on_nan == "stop":
                stopping = stopping.end(~jnp.asarray(finite), Outcome.NOT_FINITE)
            step = state.step + jnp.int32(stopping.is_running())  # skipped steps are counted
            return _Changes(
                parameters, state.opt_state, step, stopping.outcome, None if buffers is None else rest
            )

        # If all weights are zero, nothing changes, not even the momentum. This is a branch because a select
        # keeps the old and the new values alive, which requires copies.
        changes = jax.lax.cond(
            (total_weight > 0) & finite & state.stopping.is_running(), apply_update, keep
        )
        return changes.made_in(state, rest), StepInfo(totals, jnp.asarray(finite))

    return take_step


def step_key(state: TrainState) -> Key:
    """The key of the next step, from which each of its examples folds its own."""
    return jax.random.fold_in(_keys.fold_in_name(state.key, "step"), state.step)


class _Changes(NamedTuple):
    """The parts of the state that a step may change. Only they pass through its branch, so that the rest is
    known to be the same in every step."""

    parameters: PyTree
    opt_state: PyTree
    step: Array
    outcome: Array
    rest: PyTree

    def made_in(self, state: TrainState, rest: PyTree) -> TrainState:
        """The state with these changes, and with `rest` where no buffer is updated."""
        return _tree.replace(
            state,
            model=_tree.combine(self.parameters, rest if self.rest is None else self.rest),
            opt_state=self.opt_state,
            step=self.step,
            stopping=_tree.replace(state.stopping, outcome=self.outcome),
        )


_differentiate = jax.value_and_grad(objective_with_buffers, has_aux=True)


def _accumulate(parameters: PyTree, rest: PyTree, loss: Loss, batch: Batch, key: Key, parts: int) -> Any:
    """What `_differentiate` returns for the whole batch, from its parts one after another.

    The batch's weight is known before anything is summed, so that each part contributes
    Σ w·loss / (weight of the whole) and the contributions add up.
    """
    size, left = divmod(batch.weight.shape[0], parts)
    if left:
        raise ValueError(
            f"accumulate={parts} must divide the rows of a batch, got {batch.weight.shape[0]} rows. Pad "
            "the batch with rows of weight 0, or choose another accumulate."
        )
    cut = jax.tree.map(
        lambda a: a.reshape(parts, size, *a.shape[1:]), PaddedBatch(batch.example, batch.weight)
    )
    total_weight = batch.total_weight
    of_part = functools.partial(_differentiate, parameters, loss=loss, key=key, total_weight=total_weight)

    def add_part(carry: tuple[Any, PyTree], x: tuple[Batch, Array]) -> tuple[tuple[Any, PyTree], None]:
        (sums, rest), (part, number) = carry, x
        (value, (totals, new_rest)), grads = of_part(rest=rest, batch=part, first=number * size)
        if new_rest is not rest:  # a part whose weights are all zero updates no buffer
            rest = _tree.select(part.total_weight > 0, new_rest, rest)
        return (_tree.add(sums, (value, totals, grads)), rest), None

    part = jax.tree.map(lambda a: a[0], cut)
    (value, (totals, _)), grads = jax.eval_shape(of_part, rest=rest, batch=part, first=jnp.int32(0))
    zeros = jax.tree.map(jnp.zeros_like, (value, totals, grads))
    numbers = jnp.arange(parts, dtype=jnp.int32)
    (sums, new_rest), _ = jax.lax.scan(add_part, (zeros, rest), (cut, numbers))
    value, totals, grads = sums
    return (value, (totals, new_rest)), grads


def _differentiate_examples(
    parameters: PyTree, rest: PyTree, loss: Loss, batch: Batch, key: Key, parts: int
) -> Any:
    """What `_differentiate` returns, with the gradient of each example, times its weight, [rows, ...]."""
    if parts > 1 or getattr(loss, "batchwise", False):
        raise ValueError(
            "an optimizer that aggregates per-example gradients, such as optax.contrib.dpsgd, needs a loss "
            "of one example and accumulate=1."
        )
    value, (totals, new_rest) = objective_with_buffers(parameters, rest, loss, batch, key)
    if new_rest is not rest:
        raise ValueError(
            "an optimizer that aggregates per-example gradients, such as optax.contrib.dpsgd, can't train "
            "a model whose layers see the whole batch, such as BatchNorm. Use fn.layers.GroupNorm or "
            "LayerNorm."
        )

    def gradient(example: PyTree, weight: Array, number: Array) -> PyTree:
        row = jax.tree.map(lambda a: a[None], PaddedBatch(example, weight))
        return jax.grad(lambda p: objective(p, rest, loss, row, key, jnp.ones(()), number)[0])(parameters)

    numbers = jnp.arange(batch.weight.shape[0], dtype=jnp.int32)
    return (value, (totals, rest)), jax.vmap(gradient)(batch.example, batch.weight, numbers)


def _as_batch(batch: PyTree) -> PaddedBatch:
    if isinstance(batch, PaddedBatch):
        return batch
    if isinstance(batch, Batch):
        return PaddedBatch.from_batch(batch)
    arrays = {path: _check.jax_array(f"batch{path}", leaf) for path, leaf in _tree.paths(batch).items()}
    rows = _check.num_rows("batch", *arrays.values())
    return PaddedBatch(jax.tree.unflatten(jax.tree.structure(batch), arrays.values()), jnp.ones(rows))

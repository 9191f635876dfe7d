"""One optimizer update, as a pure function of state and batch."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _keys, _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.data._batches import PaddedBatch
from funcnet.train._state import TrainState
from funcnet.train._stop import Outcome
from funcnet.transform._objective import Totals, objective, renewing_objective

OnNaN: TypeAlias = Literal["stop", "skip", "ignore"]


@_tree.node
class StepInfo:
    """What one step saw: to be looked at, not carried.

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
        """The batch's mean loss, in the loss's units."""
        return self.metrics["loss"]

    @property
    def metrics(self) -> dict[str, Array]:
        """The batch's mean loss and metrics, by name."""
        return self.totals.means()

    @property
    def weight(self) -> Array:
        """The sum of the batch's weights."""
        return self.totals.weight


Step: TypeAlias = Callable[[TrainState, PyTree], tuple[TrainState, StepInfo]]


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
        optimizer: any optax GradientTransformation; line searches and plateau schedules get the
            value, the gradient and the value function they ask for.
        accumulate: into how many parts the batch is cut, one after another, to save memory. The
            update is that of the whole batch; its size must be a multiple.
        on_nan: what happens when loss or gradient is not finite. "stop": this and every later step
            leaves the state as it is; "skip": this update is left out; "ignore": it is made. The
            update itself is not looked at: weights that an optimizer made infinite are found by the
            next step's loss.

    Returns:
        A pure function. Its batch is a `fn.data.Batch`, or an example with a leading axis where
        every row counts 1. Example i of a step draws from `state.key`, `state.step` and i.

    Raises:
        TypeError: if `loss` is no function or `optimizer` no optax transformation.
        ValueError: for an unknown `on_nan`, `accumulate` below 1 or not dividing the batch, or a loss
            that is not a scalar.

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
    _check.loss(loss)
    _check.optimizer(optimizer)
    _check.positive("accumulate", accumulate)
    _check.choice("on_nan", on_nan, ("stop", "skip", "ignore"))
    if accumulate > 1 and getattr(loss, "batchwise", False):
        raise ValueError("a batchwise loss needs its whole batch at once: use accumulate=1.")
    return _step(loss, optimizer, accumulate, on_nan)


def swift_step(loss: Loss, optimizer: optax.GradientTransformation, accumulate: int) -> Step:
    """A step without a look and without a branch: it makes its update, whatever comes.

    For a training that goes on, and batches in which a row counts.
    """
    return _step(loss, optimizer, accumulate, None)


def _step(
    loss: Loss, optimizer: optax.GradientTransformation, accumulate: int, on_nan: OnNaN | None
) -> Step:
    update = optax.with_extra_args_support(optimizer).update

    def take_step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepInfo]:
        batch = _as_batch(batch)
        key = jax.random.fold_in(_keys.named(state.key, "step"), state.step)
        parameters, rest = _tree.partition(state.model, trainable(state.model))
        mass = batch.total_weight
        if accumulate == 1:
            seen = _seen(parameters, rest, loss, batch, key, mass)
        else:
            seen = _accumulated(parameters, rest, loss, batch, key, accumulate)

        def moved() -> _Changes:
            value_of = lambda p: objective(p, rest, loss, batch, key, mass)[0]  # noqa: E731
            return _moved(update, state, parameters, seen, value_of)

        if on_nan is None:
            return moved().made_in(state, rest), StepInfo(seen.totals, jnp.array(True))

        # What no row counts in may hold anything: nothing moves, and nothing is wrong.
        numbers = seen.totals.sums["loss"], seen.grads
        finite = on_nan == "ignore" or (mass == 0) | _tree.all_finite(numbers)
        running = state.stop.running()

        def kept() -> _Changes:
            return _kept(state, parameters, None if seen.rest is None else rest, finite, on_nan)

        # A batch in which no row counts moves nothing, not even a momentum. And a branch, not a
        # select: selecting keeps old and new values alive, and that costs copies.
        changes = jax.lax.cond((mass > 0) & finite & running, moved, kept)
        return changes.made_in(state, rest), StepInfo(seen.totals, jnp.asarray(finite))

    return take_step


class _Seen(NamedTuple):
    """A batch as the model before the update sees it; `rest` is None where no buffer is renewed."""

    value: Array
    totals: Totals
    grads: PyTree
    rest: PyTree


class _Changes(NamedTuple):
    """What a step may change. Only this goes through its branch, so that the rest of the state is seen to
    be the same in every step."""

    parameters: PyTree
    opt_state: PyTree
    step: Array
    outcome: Array
    rest: PyTree

    def made_in(self, state: TrainState, rest: PyTree) -> TrainState:
        """The state with these changes, and with `rest` where no buffer is renewed."""
        return _tree.replace(
            state,
            model=_tree.combine(self.parameters, rest if self.rest is None else self.rest),
            opt_state=self.opt_state,
            step=self.step,
            stop=_tree.replace(state.stop, outcome=self.outcome),
        )


def _moved(
    update: Callable[..., Any],
    state: TrainState,
    parameters: PyTree,
    seen: _Seen,
    value_of: Callable[[PyTree], Array],
) -> _Changes:
    """The optimizer's update is made."""
    updates, opt_state = update(
        seen.grads, state.opt_state, parameters, value=seen.value, grad=seen.grads, value_fn=value_of
    )
    parameters = optax.apply_updates(parameters, updates)
    return _Changes(parameters, opt_state, state.step + 1, state.stop.outcome, seen.rest)


def _kept(
    state: TrainState, parameters: PyTree, rest: PyTree, finite: Array | bool, on_nan: OnNaN
) -> _Changes:
    """Nothing moves; what is not finite may end the training. If it goes on, the step counts as made."""
    stop = state.stop
    if on_nan == "stop":
        stop = stop.ended(~jnp.asarray(finite), Outcome.NOT_FINITE)
    number = state.step + jnp.int32(stop.running())
    return _Changes(parameters, state.opt_state, number, stop.outcome, rest)


_differentiate = jax.value_and_grad(renewing_objective, has_aux=True)


def _seen(
    parameters: PyTree,
    rest: PyTree,
    loss: Loss,
    batch: Batch,
    key: Key,
    mass: Array,
    first: Array | int = 0,
) -> _Seen:
    (value, (totals, after)), grads = _differentiate(parameters, rest, loss, batch, key, mass, first)
    return _Seen(value, totals, grads, None if after is rest else after)


def _accumulated(parameters: PyTree, rest: PyTree, loss: Loss, batch: Batch, key: Key, parts: int) -> _Seen:
    """The whole batch, from its parts one after another.

    The batch's weight is known before anything is summed, so that each part contributes
    Σ w·loss / (weight of the whole) and the contributions add up.
    """
    size, left = divmod(batch.weight.shape[0], parts)
    if left:
        raise ValueError(
            f"a batch of {batch.weight.shape[0]} rows can't be cut into {parts} equal parts. Pad it "
            "with rows of weight 0, or choose another accumulate."
        )
    cut = jax.tree.map(
        lambda a: a.reshape(parts, size, *a.shape[1:]), PaddedBatch(batch.example, batch.weight)
    )
    mass = batch.total_weight

    def of_part(part: Batch, number: Array, rest: PyTree) -> _Seen:
        return _seen(parameters, rest, loss, part, key, mass, number * size)

    def one(carry: tuple[_Seen, PyTree], x: Any) -> tuple[tuple[_Seen, PyTree], None]:
        (sums, rest), (part, number) = carry, x
        seen = of_part(part, number, rest)
        if seen.rest is not None:  # a part in which no row counts has seen nothing
            rest = _tree.select(part.total_weight > 0, seen.rest, rest)
        return (_tree.add(sums, seen._replace(rest=None)), rest), None

    first = jax.tree.map(lambda a: a[0], cut)
    like = jax.eval_shape(of_part, first, jnp.int32(0), rest)._replace(rest=None)
    zeros = jax.tree.map(jnp.zeros_like, like)
    numbers = jnp.arange(parts, dtype=jnp.int32)
    (sums, rest), _ = jax.lax.scan(one, (zeros, rest), (cut, numbers))
    return sums._replace(rest=rest)


def _as_batch(batch: PyTree) -> PaddedBatch:
    if isinstance(batch, PaddedBatch):
        return batch
    if isinstance(batch, Batch):
        return PaddedBatch.from_batch(batch)
    rows = jnp.shape(jax.tree.leaves(batch)[0])[0]
    return PaddedBatch(batch, jnp.ones(rows))

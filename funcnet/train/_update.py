"""What one step computes before it is decided whether to apply it: losses, and how to update the model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from funcnet import _keys, _tree
from funcnet._module import trainable
from funcnet._types import Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.train._gradient import gradient_function
from funcnet.train._optimizer import aggregates_examples, apply_gradient
from funcnet.train._state import TrainState
from funcnet.transform._objective import Totals, objective


class Update(NamedTuple):
    """The update of one step.

    Args:
        totals: weighted sums over the batch, before the update.
        must_be_finite: losses and gradients by what they are; there is no update if one is not finite.
        apply: returns the new parameters and the new state of the optimizer.
        buffers: the new buffers; None if no layer updates any.
    """

    totals: Totals
    must_be_finite: dict[str, PyTree]
    apply: Callable[[], tuple[PyTree, PyTree]]
    buffers: PyTree


def step_key(state: TrainState) -> Key:
    """The key of the next step, from which each of its examples folds its own."""
    return jax.random.fold_in(_keys.fold_in_name(state.key, "step"), state.step)


def gradient_update(
    loss: Loss, optimizer: optax.GradientTransformation, accumulate: int
) -> Callable[[TrainState, Batch], Update]:
    """The update that the optimizer makes of the gradient of the mean loss."""

    def make_update(state: TrainState, batch: Batch) -> Update:
        key = step_key(state)
        parameters, rest = _tree.partition(state.model, trainable(state.model))
        differentiate = gradient_function(accumulate, aggregates_examples(state.opt_state))
        (value, (totals, new_rest)), grads = differentiate(parameters, rest, loss, batch, key)

        def value_fn(parameters: PyTree) -> Any:
            return objective(parameters, rest, loss, batch, key, batch.total_weight)[0]

        def apply() -> tuple[PyTree, PyTree]:
            return apply_gradient(optimizer, parameters, state.opt_state, value, grads, value_fn)

        must_be_finite = {"loss": totals.sums["loss"], "gradient of": grads}
        return Update(totals, must_be_finite, apply, None if new_rest is rest else new_rest)

    return make_update

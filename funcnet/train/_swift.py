"""A training that looks at where it has come to, and not at each step.

A look at every gradient, and the branch that hangs on it, cost a tenth of a small network's step. What is
not finite stays so: a NaN in a gradient is one in the weights ever after. So as long as weights and losses
are finite in the end, no step has to be looked at; and if they are not, the host goes back (`_pieces`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import num_batches
from funcnet.train._result import Run
from funcnet.train._state import TrainState
from funcnet.train._step import swift_step
from funcnet.train._stop import Outcome
from funcnet.train._transparent import transparent


def swift(train: Any, model: PyTree, rows: Dataset) -> Any:
    """The same training without looks at its steps, where those after them tell as much; else itself.

    Args:
        train: what `fit` made.
        model, rows: for their structures and shapes.
    """
    # Without weights a row counts in each batch. And to skip a step one must have looked at it.
    able = rows.weight is None and train.on_nan != "skip"
    if able and train.on_nan != "ignore":
        able = transparent(train.optimizer, _tree.partition(model, trainable(model))[0])
    if not able:
        return train
    step = swift_step(train.loss, train.optimizer, train.accumulate)
    return dataclasses.replace(train, step=step, looks_back=train.on_nan != "ignore")


def is_sound(train: Any, state: TrainState) -> Array:
    """Whether weights and losses so far are finite, bool []; true unless it is to look back."""
    if not train.looks_back:
        return jnp.array(True)
    weights = _tree.partition(state.model, trainable(state.model))[0]
    return (state.stop.outcome != Outcome.NOT_FINITE.code) & _tree.all_finite(weights)


def swift_run(
    train: Any, model: PyTree, data: Dataset, key: Key, valid: Dataset | None, alone: bool = True
) -> tuple[Run, Array]:
    """A whole training, and whether it is sound; if not, it ended soon after it broke.

    Args:
        train: what `fit` made.
        model, data, key, valid: what it is called with.
        alone: whether it may end by itself; many at once go on together to the last epoch.
    """
    train = swift(train, model, data)
    measured = train.measured(model, data, key)
    advance = functools.partial(train.advance, data, valid, measured)
    state = train.begin(model, data, key, valid, measured)
    if alone or train.stopping is not None:
        state = jax.lax.while_loop(train.goes_on, lambda state: advance(state)[0], state)
    else:
        state, _ = jax.lax.scan(advance, state, length=num_batches(train.epochs, train.eval_every))
    return train.finished(state), is_sound(train, state)

"""The best model of a run, which a Trainer keeps: by a value in the history that `keep_best` names."""

import jax.numpy as jnp

from funcnet import _tree
from funcnet._types import Array, PyTree
from funcnet.train._early_stopping import EarlyStoppingState


@_tree.node
class Best:
    """The model of the best epoch so far.

    Args:
        model: the model, as it is evaluated; None if no epoch had a value.
        epoch: its epoch, from 0, int32; -1 if none.
        value: the monitored value in that epoch.
    """

    model: PyTree
    epoch: Array
    value: Array


def is_better(value: float, best: Best | None, keep_best: str) -> bool:
    """Whether a value is better than the best one; NaN, the worst infinity and a tie are not.

    Args:
        value: the new value.
        best: the best epoch so far.
        keep_best: the name of the value, with a leading "-" if the highest is the best.
    """
    sign = -1 if keep_best.startswith("-") else 1
    return sign * value < (float("inf") if best is None else sign * float(best.value))


def best_of_early_stopping(stopping: EarlyStoppingState) -> Best | None:
    """The best epoch as early stopping keeps it; None if it keeps no model."""
    if stopping.model is None or int(stopping.best_epoch) < 0:
        return None
    return Best(stopping.model, stopping.best_epoch, stopping.best)


def as_best(model: PyTree, epoch: int, value: float) -> Best:
    """The model of an epoch, from 0, with arrays for its numbers."""
    return Best(model, jnp.asarray(epoch, jnp.int32), jnp.asarray(value, float))

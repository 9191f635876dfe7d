"""Everything a training is between two steps, and what the host reads from it."""

import functools

import jax
import numpy as np

from funcnet import _tree
from funcnet._types import Array
from funcnet.train._result import Run
from funcnet.train._state import TrainState
from funcnet.train._stop import Outcome


@_tree.node
class Progress:
    """Where a training stands: its state, and the totals of the last epoch that was begun.

    A number is read as an array first: JAX's own `int` of one takes three times as long.
    """

    state: TrainState
    seen: Array

    def at_start(self) -> "Progress":
        """This progress, whose numbers need not be read: nothing has happened yet."""
        vars(self).update(step=0, epoch=0, running=True)
        return self

    @functools.cached_property
    def step(self) -> int:
        """Batches seen."""
        return int(np.asarray(self.state.step))

    @functools.cached_property
    def epoch(self) -> int:
        """Epochs finished."""
        return int(np.asarray(self.state.epoch))

    @functools.cached_property
    def running(self) -> bool:
        """Whether nothing has ended the training."""
        return int(np.asarray(self.state.stop.outcome)) == Outcome.RUNNING.code

    def goes_on(self, epochs: int) -> bool:
        """Whether nothing has ended the training, and epochs are left."""
        return self.running and self.epoch < epochs

    def outcome(self, epochs: int) -> Outcome:
        """How the training stands; without epochs left it is finished, and its state says so in the end."""
        outcome: Outcome = Run(None, self.state).outcome
        return Outcome.FINISHED if outcome == Outcome.RUNNING and self.epoch == epochs else outcome

    @functools.cached_property
    def history(self) -> dict[str, list[float]]:
        """All that was measured, by name: a number for each epoch, NaN where nothing was."""
        return {name: np.asarray(values, float).tolist() for name, values in self.state.history.items()}

    @functools.cached_property
    def shown(self) -> TrainState:
        """The state in new containers around the same arrays, to be handed out."""
        shown: TrainState = jax.tree.map(lambda leaf: leaf, self.state)
        return shown


def measured_at(history: dict[str, list[float]], epoch: int) -> dict[str, float]:
    """What was measured in an epoch, from 1; nothing in epoch 0."""
    if epoch == 0:
        return {}
    found = ((name, values[epoch - 1]) for name, values in history.items())
    return {name: value for name, value in found if value == value}  # NaN: not measured

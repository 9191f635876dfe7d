"""The progress of a run between two steps, and the values that the host reads from it."""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from funcnet import _tree
from funcnet.train._early_stopping import Outcome
from funcnet.train._result import Run
from funcnet.train._state import TrainState, sort_key
from funcnet.transform._objective import RunningTotals


@_tree.node
class Progress:
    """The state of a run, and the totals of the epoch that started last.

    Scalars are converted to numpy first: `int` of a JAX array takes three times as long.
    """

    state: TrainState
    epoch_totals: RunningTotals

    def at_start(self) -> "Progress":
        """This progress, which is before the first step, so that its counters need not be read."""
        vars(self).update(step=0, epoch=0, is_running=True)
        return self

    @functools.cached_property
    def step(self) -> int:
        """The number of completed steps."""
        return int(np.asarray(self.state.step))

    @functools.cached_property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return int(np.asarray(self.state.epoch))

    @functools.cached_property
    def is_running(self) -> bool:
        """Whether nothing has ended the run."""
        return int(np.asarray(self.state.stopping.outcome)) == Outcome.RUNNING.code

    def should_continue(self, epochs: int) -> bool:
        """Whether epochs are left and nothing has ended the run."""
        return self.is_running and self.epoch < epochs

    def outcome(self, epochs: int) -> Outcome:
        """The outcome of the run; FINISHED if no epochs are left, even before `finish` has recorded it."""
        outcome: Outcome = Run(None, self.state).outcome
        return Outcome.FINISHED if outcome == Outcome.RUNNING and self.epoch == epochs else outcome

    @functools.cached_property
    def history(self) -> dict[str, list[float]]:
        """The history on the host, by name: a number for each epoch, NaN for missing values."""
        return {name: np.asarray(values, float).tolist() for name, values in self.state.history.items()}

    def with_values(self, values: Mapping[str, np.ndarray]) -> "Progress":
        """This progress, whose `history` also has values that callbacks requested, arrays [epochs]."""
        if values:
            merged = self.history | {name: column.tolist() for name, column in values.items()}
            vars(self).update(history={name: merged[name] for name in sorted(merged, key=sort_key)})
        return self

    @functools.cached_property
    def copied_state(self) -> TrainState:
        """The state in new containers around the same arrays, to hand out."""
        copy: TrainState = jax.tree.map(lambda leaf: leaf, self.state)
        return copy


def metrics_at(history: dict[str, list[float]], epoch: int) -> dict[str, float]:
    """The values of an epoch, counted from 1, that are not NaN; none for epoch 0."""
    if epoch == 0:
        return {}
    values = ((name, column[epoch - 1]) for name, column in history.items())
    return {name: value for name, value in values if value == value}  # NaN is a missing value

"""The plan of a run: loss, optimizer, settings, and the sizes that they imply."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from funcnet._module import needs_batch
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import num_batches
from funcnet.train._early_stopping import EarlyStopping
from funcnet.train._own_step import OwnStep
from funcnet.train._state import TrainState

Probe: TypeAlias = Callable[[Any, TrainState, Dataset | None], Mapping[str, Array]]
"""Extra values for the history, computed at each evaluation from optimizer, state and training rows."""

EVALUATION_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """Base of `Fit` and `Plan`: the arguments of `fit`. With `ema`, `optimizer` also averages weights."""

    loss: Loss
    optimizer: Any
    """A transformation; in `Fit`, until the rows are known, also a function of the number of steps."""
    epochs: int
    batch_size: int
    shuffle: bool
    stopping: EarlyStopping | None
    eval_every: int
    accumulate: int
    on_nan: Literal["stop", "skip", "ignore", "raise"]
    remat: bool
    step: OwnStep | None


@dataclasses.dataclass(frozen=True, eq=False)
class Plan(Settings):
    """The settings of a run and the sizes they imply. It compiles nothing."""

    probe: Probe | None = None

    def update_size(self, rows: int) -> int:
        """Rows in one update: `accumulate` parts of equal size, padded if there are too few rows."""
        requested = min(self.batch_size * self.accumulate, rows)
        return self.accumulate * -(-requested // self.accumulate)

    def steps_per_epoch(self, rows: int) -> int:
        """The number of updates in an epoch over `rows` rows."""
        return num_batches(rows, self.update_size(rows))

    def short_size(self, model: PyTree, rows: int) -> int | None:
        """Rows in the last batch of an epoch if it is short and must not be padded for this model."""
        size = rows % self.update_size(rows)
        return size if size and needs_batch(model) else None

    @property
    def evaluations(self) -> int:
        """The number of evaluations of a run that does not stop early."""
        return -(-self.epochs // self.eval_every)

    def evaluation_size(self, rows: int) -> int:
        """Rows evaluated at once."""
        return min(max(EVALUATION_ROWS, self.batch_size), rows)

    def evaluates(self, valid: Dataset | None) -> bool:
        """Whether any epoch ends with an evaluation, in addition to its running means."""
        return valid is not None or self.probe is not None or self.stopping is not None

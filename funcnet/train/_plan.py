"""A run before it has a model and data: loss, optimizer, settings, and the sizes they imply."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import optax

from funcnet._types import Array, Loss
from funcnet.data import Dataset
from funcnet.data._batches import num_batches
from funcnet.train._early_stopping import EarlyStopping
from funcnet.train._state import TrainState

Probe: TypeAlias = Callable[[TrainState, Dataset | None], Mapping[str, Array]]
"""Extra values for the history, computed at each evaluation from the state and the training rows."""

EVALUATION_ROWS = 1024
LAST_STEP = 2**31 - 1
"""Steps are counted in int32."""


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """The base of `Fit` and `Plan`: the arguments of `fit`; with `ema`, `optimizer` averages the weights."""

    loss: Loss
    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int
    shuffle: bool
    stopping: EarlyStopping | None
    eval_every: int
    accumulate: int
    on_nan: Literal["stop", "skip", "ignore", "raise"]
    remat: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Plan(Settings):
    """The settings of a run and the sizes they imply. It compiles nothing."""

    probe: Probe | None = None

    def update_size(self, rows: int) -> int:
        """Rows in one update: `accumulate` parts of equal size, padded where rows run out."""
        requested = min(self.batch_size * self.accumulate, rows)
        return self.accumulate * -(-requested // self.accumulate)

    def steps_per_epoch(self, rows: int) -> int:
        """Updates in an epoch over so many rows.

        Raises:
            ValueError: as `check_step_count`.
        """
        per_epoch = num_batches(rows, self.update_size(rows))
        self.check_step_count(per_epoch)
        return per_epoch

    def check_step_count(self, per_epoch: int) -> None:
        """Raise a ValueError if all epochs together have more steps than int32 can count."""
        if self.epochs * per_epoch > LAST_STEP:
            raise ValueError(
                f"{self.epochs:,} epochs of {per_epoch:,} steps are more than {LAST_STEP:,} steps, the "
                f"most that a run can count. Use at most epochs={LAST_STEP // per_epoch}, or a larger "
                "batch_size."
            )

    def evaluation_size(self, rows: int) -> int:
        """Rows evaluated at once."""
        return min(max(EVALUATION_ROWS, self.batch_size), rows)

    def evaluates(self, valid: Dataset | None) -> bool:
        """Whether some epochs end with more than their running means."""
        return valid is not None or self.probe is not None or self.stopping is not None

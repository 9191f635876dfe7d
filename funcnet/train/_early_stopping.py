"""Whether a run ends, and why. Pure, so that it works inside jit and for each member of a vmap."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._types import Array, Float, Int, PyTree


class Outcome(enum.Enum):
    """How a run ended; each value is a sentence. Inside jit it is `code`, an int32.

    Example:
        >>> import funcnet as fn
        >>> fn.Outcome.FINISHED.value
        'Finished: all epochs completed.'
    """

    RUNNING = "Still running: epochs are left."
    FINISHED = "Finished: all epochs completed."
    PATIENCE_EXHAUSTED = "Stopped early: patience ran out without an improvement of the monitored value."
    THRESHOLD_REACHED = "Stopped early: the monitored value passed the stopping threshold."
    DIVERGED = "Stopped: the monitored value passed the divergence threshold."
    NOT_FINITE = "Stopped: the loss or a gradient was not finite. The weights are those before that step."
    REQUESTED = "Stopped: a callback requested it."

    @property
    def code(self) -> int:
        """The outcome as an integer, for compiled code: its position in this list."""
        return list(Outcome).index(self)


@_tree.node
class EarlyStoppingState:
    """The state of early stopping, and the outcome of the run. Scalars have leading axes after a vmap.

    Args:
        outcome: the code of an `Outcome`, int32.
        wait: evaluations since the last improvement, int32.
        best: the best monitored value, ±inf before the first.
        best_epoch: the epoch of that value, from 0; -1 before the first, int32.
        model: the model of that epoch; None unless it is to be restored.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> stopping = fn.EarlyStopping(patience=1)
        >>> state = stopping.init(model=jnp.zeros(2))
        >>> for epoch, loss in enumerate([0.5, 0.7]):
        ...     state = stopping.update(state, jnp.int32(epoch), jnp.ones(2), {"val_loss": jnp.array(loss)})
        >>> bool(state.is_running()), int(state.best_epoch)
        (False, 0)
    """

    outcome: Int[Array, "*batch"]
    wait: Int[Array, "*batch"]
    best: Float[Array, "*batch"]
    best_epoch: Int[Array, "*batch"]
    model: PyTree = None

    def is_running(self) -> Array:
        """Whether nothing has ended the run, bool."""
        return self.outcome == Outcome.RUNNING.code

    def end(self, condition: Array, outcome: Outcome) -> "EarlyStoppingState":
        """This state with `outcome`, if the condition holds and nothing ended the run before."""
        code = jnp.where(condition & self.is_running(), jnp.int32(outcome.code), self.outcome)
        return _tree.replace(self, outcome=code)


def initial_state(model: PyTree = None, worst: float = jnp.inf) -> EarlyStoppingState:
    """The state of a run that has not been evaluated."""
    zero = jnp.zeros((), jnp.int32)
    return EarlyStoppingState(zero, zero, jnp.asarray(worst, float), zero - 1, model)


@_check.usage("fn.fit(loss, optax.adam(1e-3), epochs=20, stopping=fn.EarlyStopping(patience=5))")
@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when a monitored value stops improving, and keep the weights of its best epoch.

    The value is checked at each evaluation (`eval_every`). It improves if it is better than the best one by
    more than `min_delta`; a tie is not an improvement, and neither is NaN.

    Args:
        monitor: a name in the history: "val_loss", "val_accuracy", "loss", …
        min_delta: only a larger change is an improvement; in the monitored value's units, at least 0.
        patience: evaluations without improvement after which the run stops; 0 is treated as 1.
        mode: "min" or "max".
        restore_best: whether `run.model` is the best epoch's model rather than the last.
        start_from_epoch: epochs before this one, from 0, are not checked.
        stopping_threshold: stop once the value is better than this.
        divergence_threshold: stop once the value is worse than this.

    Raises:
        TypeError: if a setting has the wrong type.
        ValueError: if `mode` is unknown, or is "min" for an accuracy; if `patience`, `min_delta` or
            `start_from_epoch` is negative; if a threshold is NaN.

    Example:
        >>> import funcnet as fn
        >>> fn.EarlyStopping(patience=10).monitor
        'val_loss'

    Source: Prechelt, "Early stopping - but when?", 1998; semantics as in Keras and Lightning.
    """

    monitor: str = "val_loss"
    min_delta: float = 0.0
    patience: int = 3
    mode: Literal["min", "max"] = "min"
    restore_best: bool = True
    start_from_epoch: int = 0
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None

    def __post_init__(self) -> None:
        _check.choice("mode", self.mode, ("min", "max"))
        if not isinstance(self.monitor, str):
            raise TypeError(
                f"monitor must be a name in the history, got {_check.describe(self.monitor)}. The number "
                "of epochs to wait is `patience`: EarlyStopping(patience=5)."
            )
        _check.direction(self.monitor, self.mode)
        _check.between("min_delta", self.min_delta, 0, float("inf"))
        for name in ("patience", "start_from_epoch"):
            _check.not_negative(name, getattr(self, name))
        _check.boolean("restore_best", self.restore_best)
        for name in ("stopping_threshold", "divergence_threshold"):
            value = getattr(self, name)
            is_scalar = isinstance(value, jax.Array) and value.shape == ()  # as a sweep passes it
            if is_scalar and not _tree.is_key(value):
                value = value.item() if _tree.is_concrete(value) else None
            if value is not None:
                _check.number(name, value)

    def init(self, model: PyTree) -> EarlyStoppingState:
        """The state before the first epoch."""
        worst = jnp.inf if self.mode == "min" else -jnp.inf
        return initial_state(model if self.restore_best else None, worst)

    def update(
        self, state: EarlyStoppingState, epoch: Array, model: PyTree, values: Mapping[str, Any]
    ) -> EarlyStoppingState:
        """The state after an evaluation.

        Args:
            state: the state before it.
            epoch: the epoch that has just ended, from 0, int32.
            model: the model at its end.
            values: the values of that epoch in the history, by name.

        Returns:
            The new state; the same one before `start_from_epoch`.
        """
        value = values[self.monitor].astype(state.best.dtype)
        delta = jnp.asarray(self.min_delta, state.best.dtype)
        better = self._better(value, state.best - delta if self.mode == "min" else state.best + delta)
        wait = jnp.where(better, 0, state.wait + 1)
        new = EarlyStoppingState(
            state.outcome,
            wait,
            jnp.where(better, value, state.best),
            jnp.where(better, epoch, state.best_epoch),
            _tree.select(better, model, state.model) if self.restore_best else None,
        )
        if self.divergence_threshold is not None:
            worse = self._better(jnp.asarray(self.divergence_threshold, value.dtype), value)
            new = new.end(worse, Outcome.DIVERGED)
        if self.stopping_threshold is not None:
            reached = self._better(value, jnp.asarray(self.stopping_threshold, value.dtype))
            new = new.end(reached, Outcome.THRESHOLD_REACHED)
        new = new.end(wait >= max(self.patience, 1), Outcome.PATIENCE_EXHAUSTED)
        return _tree.select(epoch >= self.start_from_epoch, new, state)

    def _better(self, value: Array, than: Array) -> Array:
        return value < than if self.mode == "min" else value > than

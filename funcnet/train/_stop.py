"""When a training ends, and why. Pure, so it works inside jit and for each member of a vmap."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._types import Array, Float, Int, PyTree


class Outcome(enum.Enum):
    """How a training ended; each value is a sentence. Inside jit it is `code`, an int32.

    Example:
        >>> import funcnet as fn
        >>> fn.Outcome.FINISHED.value
        'Finished: every epoch was trained.'
    """

    RUNNING = "Still running: epochs are left."
    FINISHED = "Finished: every epoch was trained."
    PATIENCE_EXHAUSTED = "Stopped early: the monitored value stopped improving, and patience is exhausted."
    THRESHOLD_REACHED = "Stopped early: the monitored value passed the stopping threshold."
    DIVERGED = "Stopped: the monitored value passed the divergence threshold."
    NOT_FINITE = "Stopped: the loss or a gradient was not finite. The weights are those before it."
    REQUESTED = "Stopped: a callback asked for it."

    @property
    def code(self) -> int:
        """The outcome's number within compiled code: its place in this list."""
        return list(Outcome).index(self)


@_tree.node
class EarlyStoppingState:
    """Where stopping stands. All scalars, with leading axes after a vmap.

    Args:
        outcome: an `Outcome`'s code, int32.
        wait: checks since the last improvement, int32.
        best: the best monitored value, ±inf before the first.
        best_epoch: the epoch it belongs to, from 0; -1 before the first, int32.
        model: the model of that epoch; None where it is not kept.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> stopping = fn.EarlyStopping(patience=1)
        >>> stop = stopping.begin(model=jnp.zeros(2))
        >>> for epoch, loss in enumerate([0.5, 0.7]):
        ...     stop = stopping.update(stop, jnp.int32(epoch), jnp.ones(2), {"val_loss": jnp.array(loss)})
        >>> bool(stop.running()), int(stop.best_epoch)
        (False, 0)
    """

    outcome: Int[Array, "*batch"]
    wait: Int[Array, "*batch"]
    best: Float[Array, "*batch"]
    best_epoch: Int[Array, "*batch"]
    model: PyTree = None

    def running(self) -> Array:
        """Whether nothing has ended the training yet."""
        return self.outcome == Outcome.RUNNING.code

    def ended(self, condition: Array, outcome: Outcome) -> "EarlyStoppingState":
        """With `outcome`, if the condition holds and nothing ended the training before."""
        code = jnp.where(condition & self.running(), jnp.int32(outcome.code), self.outcome)
        return _tree.replace(self, outcome=code)

    def finished(self) -> "EarlyStoppingState":
        """At the end, unless something has ended the training before."""
        return self.ended(jnp.array(True), Outcome.FINISHED)


def not_stopped(model: PyTree = None, worst: float = jnp.inf) -> EarlyStoppingState:
    """The beginning: running, nothing seen yet."""
    zero = jnp.zeros((), jnp.int32)
    return EarlyStoppingState(zero, zero, jnp.asarray(worst, float), zero - 1, model)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when a monitored value stops improving, and keep the weights of its best epoch.

    A check happens at each evaluation (`eval_every`). A value improves if it is better than the best
    by more than `min_delta`; a tie does not improve, and NaN never does.

    Args:
        monitor: a name in the history: "val_loss", "val_accuracy", "loss", …
        min_delta: how much better counts, in the monitored value's units, at least 0.
        patience: checks without improvement after which to stop; 0 counts as 1.
        mode: "min" or "max".
        restore_best: whether `run.model` is the best epoch's model rather than the last.
        start_from_epoch: epochs before this one, from 0, are not checked.
        stopping_threshold: stop once the value is better than this.
        divergence_threshold: stop once the value is worse than this.

    Raises:
        ValueError: if `mode` is neither, or "min" for an accuracy; if `patience`, `min_delta` or
            `start_from_epoch` is negative.

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
                f"monitor is a name in the history; got {_check.describe(self.monitor)}. Epochs to wait "
                "are another setting: EarlyStopping(patience=5)."
            )
        _check.direction(self.monitor, self.mode)
        for name in ("min_delta", "patience", "start_from_epoch"):
            _check.between(name, getattr(self, name), 0, float("inf"))

    def begin(self, model: PyTree) -> EarlyStoppingState:
        """Where stopping stands before the first epoch."""
        worst = jnp.inf if self.mode == "min" else -jnp.inf
        return not_stopped(model if self.restore_best else None, worst)

    def update(
        self, stop: EarlyStoppingState, epoch: Array, model: PyTree, values: Mapping[str, Any]
    ) -> EarlyStoppingState:
        """Where stopping stands after a check.

        Args:
            stop: where it stood.
            epoch: the epoch just finished, from 0, int32.
            model: the model at its end.
            values: what the history holds for it, by name.

        Returns:
            The new state; the same one before `start_from_epoch`.
        """
        value = values[self.monitor].astype(stop.best.dtype)
        delta = jnp.asarray(self.min_delta, stop.best.dtype)
        better = self._better(value, stop.best - delta if self.mode == "min" else stop.best + delta)
        wait = jnp.where(better, 0, stop.wait + 1)
        seen = EarlyStoppingState(
            stop.outcome,
            wait,
            jnp.where(better, value, stop.best),
            jnp.where(better, epoch, stop.best_epoch),
            _tree.select(better, model, stop.model) if self.restore_best else None,
        )
        if self.divergence_threshold is not None:
            worse = self._better(jnp.asarray(self.divergence_threshold, value.dtype), value)
            seen = seen.ended(worse, Outcome.DIVERGED)
        if self.stopping_threshold is not None:
            reached = self._better(value, jnp.asarray(self.stopping_threshold, value.dtype))
            seen = seen.ended(reached, Outcome.THRESHOLD_REACHED)
        seen = seen.ended(wait >= max(self.patience, 1), Outcome.PATIENCE_EXHAUSTED)
        return _tree.select(epoch >= self.start_from_epoch, seen, stop)

    def _better(self, value: Array, than: Array) -> Array:
        return value < than if self.mode == "min" else value > than

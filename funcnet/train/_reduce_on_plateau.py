"""A callback that reduces the learning rate when a monitored value stops improving."""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._types import PyTree
from funcnet.train._callbacks import Callback, CallbackContext
from funcnet.train._hyperparams import find, hyperparams, labels
from funcnet.train._request import Request


class ReduceOnPlateau(Callback):
    """Multiply a hyperparameter when a monitored value has stopped improving.

    The hyperparameter must be part of the optimizer's state:
    `optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)`. If several have this name, as in
    `optax.multi_transform`, each is multiplied.

    Args:
        monitor: a name in the history.
        factor: the factor by which the hyperparameter is multiplied, in (0, 1).
        patience: evaluations without improvement before it is multiplied, at least 1; NaN is none.
        min_delta: only a larger change is an improvement; in the monitored value's units.
        mode: "min" or "max".
        cooldown: evaluations after a change that do not count towards `patience`.
        min_lr: the lowest value of the hyperparameter.
        name: the name of the hyperparameter, or the path of one in the optimizer's state.

    Raises:
        ValueError: if a setting is out of range; in training, if the optimizer's state lacks the
            hyperparameter, a schedule computes it, it is an integer, or the history lacks the monitored
            value.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optimizer, epochs=3)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> plateau = fn.train.ReduceOnPlateau("loss", factor=0.5, patience=1)
        >>> run = fn.Trainer(train, callbacks=[plateau])(model, (x, 0 * x[:, 0]), jax.random.key(1))
        >>> round(float(run.state.opt_state.hyperparams["learning_rate"]), 6)  # a loss of 0 can't improve
        0.025

    Source: Keras, `ReduceLROnPlateau`, with the same semantics.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        mode: Literal["min", "max"] = "min",
        cooldown: int = 0,
        min_lr: float = 0.0,
        name: str = "learning_rate",
    ) -> None:
        _check.choice("mode", mode, ("min", "max"))
        _check.direction(monitor, mode)
        _check.string("name", name, "learning_rate")
        patience = _check.positive("patience", patience)
        cooldown = _check.not_negative("cooldown", cooldown)
        factor = _check.above_zero("factor", factor)
        if factor >= 1:
            raise ValueError(
                f"factor must lie between 0 and 1, so that the value decreases, got {factor!r}."
            )
        for setting, value in {"min_delta": min_delta, "min_lr": min_lr}.items():
            _check.between(setting, value, 0, math.inf)
        self.monitor, self.factor, self.patience, self.name = monitor, factor, patience, name
        self.min_delta, self.sign, self.cooldown, self.min_lr = (
            min_delta,
            -1 if mode == "max" else 1,
            cooldown,
            min_lr,
        )
        self._best, self._wait, self._resting = math.inf, 0, 0

    def on_fit_start(self, context: CallbackContext) -> None:
        self._best, self._wait, self._resting = math.inf, 0, 0
        if self.monitor not in context.state.history:
            raise ValueError(
                f"monitor must be a name in the history ({', '.join(context.state.history)}), got "
                f"{self.monitor!r}. Pass valid=..., or monitor='loss'."
            )
        settings = hyperparams(context.state.opt_state)
        for path in find(settings, self.name, "name"):
            if not jnp.issubdtype(jnp.result_type(settings[path].value), jnp.floating):
                raise ValueError(
                    f"hyperparameter {self.name!r} must be a float to be multiplied, got "
                    f"{settings[path].value}. Try optax.inject_hyperparams(optax.sgd)({self.name}=1.0)."
                )

    def on_epoch_end(self, context: CallbackContext) -> Request | None:
        if self.monitor not in context.metrics and not self._is_nan(context):
            return None
        value = self.sign * context.metrics.get(self.monitor, math.nan)
        if self._resting > 0:
            self._resting, self._wait = self._resting - 1, 0
        if value < self._best - self.min_delta:
            self._best, self._wait = value, 0
        elif self._resting == 0:
            self._wait += 1
        if self._wait < self.patience:
            return None
        settings, new = hyperparams(context.state.opt_state), {}
        shown = labels(settings)
        for path in find(settings, self.name, "name"):
            old = np.asarray(settings[path].value)
            # In the setting's dtype, since float32(0.001) is above 0.001 and would never reach it.
            if (old > np.asarray(self.min_lr, old.dtype)).any():
                new[shown[path]] = np.maximum(old.astype(float) * self.factor, self.min_lr)
        if not new:
            return None
        self._wait, self._resting = 0, self.cooldown
        return Request(hyperparams=new)

    def _is_nan(self, context: CallbackContext) -> bool:
        """Whether the value was measured in this epoch, and is NaN, which is not an improvement."""
        history = context.state.history
        if self.monitor not in history.evaluations or history.is_evaluated is None:
            return True  # of every epoch
        return bool(history.is_evaluated[context.epoch - 1])

    def state(self) -> PyTree:
        return {"best": float(self._best), "wait": self._wait, "resting": self._resting}

    def restore(self, state: PyTree) -> None:
        self._best, self._wait, self._resting = (
            float(state["best"]),
            int(state["wait"]),
            int(state["resting"]),
        )

"""A callback that averages the models of several epochs."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import PyTree
from funcnet.train._callbacks import Callback, CallbackContext


class AverageWeights(Callback):
    """Stochastic weight averaging: the mean of the models at the ends of epochs, starting with one epoch.

    It does not change the run; `average.model` is the mean. For an exponential average that is evaluated
    during the run, use `fn.fit(..., ema=0.99)`.

    Args:
        start: the first epoch, from 0, whose model is averaged.
        every: epochs between two models that are averaged.

    Raises:
        ValueError: if `start` is negative or `every` below 1.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.5), epochs=20)
        >>> average = fn.train.AverageWeights(start=10)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> run = fn.Trainer(train, callbacks=[average])(model, (x, x[:, 0]), jax.random.key(1))
        >>> average.count
        10

    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging weights leads to wider optima and
    better generalization", 2018.
    """

    def __init__(self, start: int = 0, every: int = 1) -> None:
        _check.between("start", start, 0, math.inf)
        _check.positive("every", every)
        self.start, self.every = start, every
        self.count = 0
        self.model: Any = None

    def on_fit_start(self, context: CallbackContext) -> None:
        self.model, self.count = context.model, 0

    def on_epoch_end(self, context: CallbackContext) -> None:
        past = context.epoch - 1 - self.start
        if past >= 0 and past % self.every == 0:
            self.count += 1
            self.model = _update_mean(self.model, context.model, jnp.asarray(1.0 / self.count))

    def state(self) -> PyTree:
        return {"model": self.model, "count": self.count}

    def restore(self, state: PyTree) -> None:
        self.model, self.count = state["model"], int(state["count"])


@jax.jit
def _update_mean(mean: PyTree, model: PyTree, share: jax.Array) -> PyTree:
    def part(a: jax.Array, b: jax.Array) -> jax.Array:
        return a + (b - a) * share.astype(a.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else b

    return jax.tree.map(part, mean, model)

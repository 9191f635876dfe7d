"""A callback that averages the models of several epochs."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _processes
from funcnet._module import restore
from funcnet._types import PyTree
from funcnet.train._callbacks import Callback, CallbackContext
from funcnet.train._ema import to_float32
from funcnet.train._optimizer import cast_like
from funcnet.train._running_statistics import renew_statistics, statistics_key


class AverageWeights(Callback):
    """Stochastic weight averaging: the mean of the models at the ends of epochs, starting with one epoch.

    It does not change the run; `average.model` is the mean. For an exponential average that is evaluated
    during the run, use `fn.fit(..., ema=0.99)`. The mean is kept in at least float32.

    At the end of the run, the running statistics of layers such as `BatchNorm` are computed anew: means
    over one more pass over the training data, with the averaged weights. Until then they are the mean of
    those of the models. Networks of other libraries continue their own updates from that mean. Models
    without such layers are not passed over the data. Of a run that ended before `start`, `average.model` is
    the last model, and `average.count` is 0.

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
        start = _check.not_negative("start", start)
        every = _check.positive("every", every)
        self.start, self.every = start, every
        self.count = 0
        self.model: Any = None
        self._mean: Any = None

    def on_fit_start(self, context: CallbackContext) -> None:
        self.model, self.count, self._mean = context.model, 0, to_float32(context.model)

    def on_epoch_end(self, context: CallbackContext) -> None:
        past = context.epoch - 1 - self.start
        if past >= 0 and past % self.every == 0:
            self.count += 1
            self._mean = _update_mean(self._mean, context.model, jnp.asarray(1.0 / self.count))
            self.model = cast_like(self._mean, context.model)

    def on_fit_end(self, context: CallbackContext) -> None:
        if not self.count:
            self.model = context.model
            return
        loss, batches = context._snapshot.loss, context._snapshot.batches()
        key = statistics_key(context.state.key)
        self.model = _processes.to_local(restore(renew_statistics(loss, self.model, batches, key)))

    def state(self) -> PyTree:
        return {"model": self._mean, "count": self.count}

    def restore(self, state: PyTree) -> None:
        self._mean, self.count = state["model"], int(state["count"])
        self.model = cast_like(self._mean, self.model)


@jax.jit
def _update_mean(mean: PyTree, model: PyTree, share: jax.Array) -> PyTree:
    def part(a: jax.Array, b: jax.Array) -> jax.Array:
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return b
        b = b.astype(a.dtype)
        return jnp.where(a == b, a, a + (b - a) * share.astype(a.dtype))  # what is frozen keeps its bits

    return jax.tree.map(part, mean, model)

"""Hyperparameters and gradient norms by epoch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.train._callbacks import Callback, CallbackContext
from funcnet.train._hyperparams import hyperparams, labels
from funcnet.transform._objective import objective


class Monitor(Callback):
    """Record the hyperparameters and the norm of the gradient at the end of each epoch.

    The gradient is that of the loss, in inference mode, on the first 1,024 rows of the training data: the
    same rows each time, so that norms can be compared between epochs. The cost is one such gradient per
    epoch.

    Attributes:
        values: a list of numbers, one per epoch, for each of "epoch", "gradient_norm" and the
            hyperparameters that `optax.inject_hyperparams` made part of the optimizer's state: by their
            name, or, if several have the same name, by their path in it.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optimizer, epochs=3)
        >>> monitor = fn.train.Monitor()
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> run = fn.Trainer(train, callbacks=[monitor])(model, (x, x[:, 0]), jax.random.key(1))
        >>> monitor.values["learning_rate"], len(monitor.values["gradient_norm"])
        ([0.5, 0.5, 0.5], 3)
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def on_fit_start(self, context: CallbackContext) -> None:
        names = ["epoch", "gradient_norm", *labels(hyperparams(context.state.opt_state)).values()]
        self.values = {name: [] for name in names}
        self._norm = jax.jit(functools.partial(_gradient_norm, context._snapshot.loss))

    def on_epoch_end(self, context: CallbackContext) -> None:
        settings = hyperparams(context.state.opt_state)
        values = {label: float(np.max(settings[path].value)) for path, label in labels(settings).items()}
        norm = self._norm(context.model, context._snapshot.sample())
        values |= {"epoch": context.epoch - 1, "gradient_norm": float(norm)}
        for name, value in values.items():
            self.values[name].append(value)

    def state(self) -> PyTree:
        return {name: np.asarray(values, float) for name, values in self.values.items()}

    def restore(self, state: PyTree) -> None:
        self.values = {name: np.asarray(values).tolist() for name, values in state.items()}


def _gradient_norm(loss: Loss, model: Any, data: Dataset) -> Array:
    parameters, rest = _tree.partition(model, trainable(model))
    batch = batch_of(data, None, len(data))
    gradient = jax.grad(lambda p: objective(p, rest, loss, batch, None)[0])(parameters)
    return optax.tree.norm(gradient) * jnp.ones(())

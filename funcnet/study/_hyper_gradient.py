"""Derivatives through whole trainings: of a validation metric, with respect to hyper-parameters."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from funcnet import _check, _keys, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.data._dataset import as_dataset
from funcnet.study._members import start
from funcnet.train import Fit, Run
from funcnet.train._evaluate import checked_data, total

Mode: TypeAlias = Literal["forward", "reverse"]
Measure: TypeAlias = str | Callable[[Run], Array]

FEW = 3  # so many numbers cost less in forward mode than the three trainings of a reverse pass


def hyper_gradient(
    make_train: Callable[[PyTree], Any], metric: Measure = "val_loss", *, mode: Mode | None = None
) -> "HyperGradient":
    """The gradient of a validation metric through a whole training: `study(hyper, net, data, key, valid)`.

    Anything that a training takes as an array can be a hyper-parameter: learning rates, a whole schedule,
    weight decay, a loss's settings; and, where `make_train` returns a function of its own around a
    training, the weights of examples or where the model starts:

        def make_train(weight):
            def trained(model, data, *rest):
                return train(model, fn.data.Dataset(data.arrays, weight=weight), *rest)

            return trained

    Forward mode trains along with each hyper-parameter's tangent: time grows with their number, memory
    does not grow with epochs. Reverse mode costs about three trainings for any number of them; it stores
    the state at each epoch's start and trains each epoch again on the way back.

    Args:
        make_train: makes a training, `fn.fit(...)`, of the hyper-parameters: a pytree of floating arrays
            that may be traced. Or a function `(model, data, key, valid) -> Run`.
        metric: "val_" and the name of loss or metric, measured with the trained model; or a function of
            the `Run` that returns a scalar.
        mode: "forward" or "reverse". When left out: forward for up to three numbers and for trainings
            with early stopping, which have no other.

    Returns:
        The study: it returns `(value, gradient)`, a scalar and a pytree like the hyper-parameters.

    Raises:
        TypeError: if `make_train` is no function, or `metric` neither a name nor a function.
        ValueError: if `mode` is unknown, or the metric no validation value.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(hyper):
        ...     return fn.fit(loss, optax.sgd(hyper["learning_rate"]), epochs=5, batch_size=8)
        >>> study = fn.study.hyper_gradient(make_train)
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> value, slope = study({"learning_rate": 0.05}, net, data, jax.random.key(0), data)
        >>> bool(slope["learning_rate"] < 0)  # a higher rate would have come further
        True

    Source: Maclaurin, Duvenaud, Adams, "Gradient-based hyperparameter optimization through reversible
    learning", 2015; Franceschi, Donini, Frasconi, Pontil, "Forward and reverse gradient-based
    hyperparameter optimization", 2017.
    """
    _check.function("make_train", make_train, "a function of the hyper-parameters that returns a training")
    if isinstance(metric, str):
        _check.validation_name("metric", metric)
    else:
        _check.function("metric", metric, "a name such as 'val_loss', or a function of a Run")
    if mode is not None:
        _check.choice("mode", mode, ("forward", "reverse"))
    return HyperGradient(make_train, metric, mode)


@dataclasses.dataclass(frozen=True, eq=False)
class HyperGradient:
    """The study that `hyper_gradient` made. Call it; its settings are its fields."""

    make_train: Callable[[PyTree], Any]
    metric: Measure
    mode: Mode | None

    def __call__(
        self, hyper: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[Array, PyTree]:
        """Train, and differentiate through it.

        Args:
            hyper: the hyper-parameters, a pytree of floats or floating arrays.
            net: an architecture, drawn by `key`, or a model to start from.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows to judge by.

        Returns:
            The metric, [], and its gradient, a pytree like `hyper`.

        Raises:
            TypeError: if a hyper-parameter is not floating, or `make_train` returns no training.
            ValueError: if the data is unfit, or the metric is not measured.
            FloatingPointError: if value or gradient is not finite; not where they are traced.
        """
        _check.key(key)
        hyper = floating(hyper)
        found = self._compiled(hyper, net, *self.checked(hyper, net, data, key, valid))
        if _tree.is_concrete(found) and not bool(_tree.all_finite(found)):
            raise FloatingPointError(_not_finite(*found))
        return found

    def checked(
        self, hyper: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[Dataset, Key, Dataset]:
        """Data, key and validation rows, once they are known to suit the training."""
        train = self.make_train(hyper)
        _check.function("what make_train returns", train, "a training, fn.fit(...)")
        if not isinstance(train, Fit):
            return as_dataset(data), key, as_dataset(valid)
        model = start(net, key)
        return checked_data(train.loss, model, data), key, checked_data(train.loss, model, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self.value_and_gradient)

    def value_and_gradient(
        self, hyper: PyTree, net: Module, data: Dataset, key: Key, valid: Dataset
    ) -> tuple[Array, PyTree]:
        """What a call computes, to be used within jit or scan: `hyper` is a pytree of floating arrays."""
        flat, unravel = ravel_pytree(hyper)
        stops = getattr(self.make_train(hyper), "stopping", None) is not None
        mode = self.mode or ("forward" if stops or flat.size <= FEW else "reverse")

        def value(flat: Array) -> Array:
            return self._value(unravel(flat), net, data, key, valid, remat=mode == "reverse")

        if mode == "reverse":
            found, gradient = jax.value_and_grad(value)(flat)
            return found, unravel(gradient)
        along = jax.vmap(lambda tangent: jax.jvp(value, (flat,), (tangent,)), out_axes=(None, 0))
        found, gradient = along(jnp.eye(flat.size, dtype=flat.dtype))
        return found, unravel(gradient.astype(flat.dtype))

    def _value(
        self, hyper: PyTree, net: Module, data: Dataset, key: Key, valid: Dataset, remat: bool
    ) -> Array:
        train = self.make_train(hyper)
        if remat and isinstance(train, Fit):
            train = dataclasses.replace(train, remat=True)
        run = train(start(net, _keys.named(key, "init")), data, _keys.named(key, "train"), valid)
        if not isinstance(self.metric, str):
            return self.metric(run)
        if not isinstance(train, Fit):
            raise TypeError(
                "a metric by name is measured with the loss of fn.fit's training, and make_train returned "
                "another function. Give a function of its Run: "
                "metric=lambda run: run.history['val_loss'][-1]."
            )
        measured = total(train.loss, run.model, valid, len(valid)).means()
        _check.monitored_metric(self.metric, [f"val_{name}" for name in measured], True)
        return measured[self.metric.removeprefix("val_")]


def floating(hyper: PyTree) -> PyTree:
    """Hyper-parameters as arrays, each checked to be floating."""
    _check.hyperparams(hyper)
    return jax.tree.map(lambda h: jnp.asarray(h, jnp.result_type(h)), hyper)


def _not_finite(value: Array, gradient: PyTree) -> str:
    wrong = [path or "it" for path, g in _tree.paths(gradient).items() if not bool(jnp.isfinite(g).all())]
    if not bool(jnp.isfinite(value)):
        return f"the metric is {float(value)}: the training diverged. Lower the learning rate."
    return (
        f"the derivative with respect to {', '.join(wrong)} is not finite, though the metric is. Adam's "
        "square root has no derivative where a gradient is exactly 0 (dead units, dropout): "
        "optax.adam(rate, eps_root=1e-8) has."
    )

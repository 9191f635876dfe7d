"""Derivatives of a validation metric with respect to hyperparameters, through whole runs."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from funcnet import _check, _keys, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._members import init_if_incomplete, model_of_shapes
from funcnet.study._study import Study, check_net, to_rows
from funcnet.train import Fit, Run
from funcnet.train._evaluate import total
from funcnet.train._result import nan_if_not_finite
from funcnet.transform._arguments import scalar, to_floating

Mode: TypeAlias = Literal["forward", "reverse"]
Metric: TypeAlias = str | Callable[[Run], Array]

MAX_FORWARD = 3  # up to this many scalars, forward mode costs less than the three runs of a reverse pass


def hyper_gradient(
    make_train: Callable[[PyTree], Any], metric: Metric = "val_loss", *, mode: Mode | None = None
) -> "HyperGradientStudy":
    """The gradient of a validation metric through a whole run: `study(hyperparams, net, data, key, valid)`.

    Every array that a training function depends on can be a hyperparameter: learning rates, a whole
    schedule, weight decay, the settings of a loss. The weights of examples and the initial model can be
    hyperparameters, too, if `make_train` returns a function that wraps a training function:

        def make_train(weight):
            def train_weighted(model, data, *rest):
                return train(model, fn.data.Dataset(data.arrays, weight=weight), *rest)

            return train_weighted

    Forward mode computes the tangent of each hyperparameter during the run: time grows with their number,
    memory does not grow with epochs. Reverse mode costs about three runs for any number of them; it
    stores the state at each evaluation and recomputes the epochs between in the backward pass.

    Args:
        make_train: a function of the hyperparameters, a pytree of floating arrays that may be traced, that
            returns a training function, `fn.fit(...)`, or any function `(model, data, key, valid) -> Run`.
        metric: "val_" and the name of the loss or a metric, measured with the trained model; or a function
            of the `Run` that returns a scalar.
        mode: "forward" or "reverse". If None: forward for up to three scalars and for runs with early
            stopping, which have no reverse mode.

    Returns:
        The study: it returns `(value, gradient)`, a scalar and a pytree like the hyperparameters.

    Raises:
        TypeError: if `make_train` is not a function, or `metric` is neither a name nor a function.
        ValueError: if `mode` is unknown, or the metric is not a validation value.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(hyperparams):
        ...     return fn.fit(loss, optax.sgd(hyperparams["learning_rate"]), epochs=5, batch_size=8)
        >>> study = fn.study.hyper_gradient(make_train)
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> value, gradient = study({"learning_rate": 0.05}, net, data, jax.random.key(0), data)
        >>> bool(gradient["learning_rate"] < 0)  # a higher rate reduces the loss
        True

    Source: Maclaurin, Duvenaud, Adams, "Gradient-based hyperparameter optimization through reversible
    learning", 2015; Franceschi, Donini, Frasconi, Pontil, "Forward and reverse gradient-based
    hyperparameter optimization", 2017.
    """
    _check.train_factory(
        make_train, "a function of the hyperparameters that returns a training function", None
    )
    if isinstance(metric, str):
        _check.validation_name("metric", metric)
    else:
        _check.takes("metric", metric, "a name such as 'val_loss', or a function of a Run", None)
    if mode is not None:
        _check.choice("mode", mode, ("forward", "reverse"))
    return HyperGradientStudy(make_train, metric, mode)


@dataclasses.dataclass(frozen=True, eq=False)
class HyperGradientStudy(Study):
    """The study returned by `hyper_gradient`. Call it; its settings are its fields."""

    make_train: Callable[[PyTree], Any]
    metric: Metric
    mode: Mode | None

    def __call__(
        self, hyperparams: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[Array, PyTree]:
        """Train, and differentiate through the run.

        Args:
            hyperparams: a pytree of floats or floating arrays.
            net: an architecture, initialized with `key`, or an initial model.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows for the metric.

        Returns:
            The metric, [], and its gradient, a pytree like `hyperparams`.

        Raises:
            TypeError: if a hyperparameter is not floating, or `make_train` does not return a function.
            ValueError: if the data is unfit, or the metric is not measured.
            FloatingPointError: if the value or the gradient is not finite; not checked under tracing.
        """
        hyperparams, data, valid = self.check_arguments(hyperparams, net, data, key, valid)
        value, gradient = self._run(None, hyperparams, net, data, key, valid)
        if _tree.is_concrete((value, gradient)) and not bool(_tree.all_finite((value, gradient))):
            raise FloatingPointError(_explain_not_finite(value, gradient))
        return value, gradient

    def check_arguments(
        self, hyperparams: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[PyTree, Dataset, Dataset]:
        """Hyperparameters as arrays, and data and validation rows as Datasets that suit the run."""
        _check.key(key)
        _check.hyperparams(hyperparams)
        hyperparams = to_floating("hyperparams", hyperparams)
        train = self.make_train(hyperparams)
        _check.function("the result of make_train", train, "a training function, fn.fit(...)")
        if not isinstance(train, Fit):
            return hyperparams, to_rows("data", data, None, None), to_rows("valid", valid, None, None)
        check_net(net)
        model = model_of_shapes(net, key)
        data = to_rows("data", data, train.loss, model)
        return hyperparams, data, to_rows("valid", valid, train.loss, model)

    def _compute(self, static: None, *arrays: PyTree) -> tuple[Array, PyTree]:
        return self.value_and_gradient(*arrays)

    def value_and_gradient(
        self, hyperparams: PyTree, net: Module, data: Dataset, key: Key, valid: Dataset
    ) -> tuple[Array, PyTree]:
        """The traced computation of a call: `hyperparams` is a pytree of floating arrays."""
        flat, unravel = ravel_pytree(hyperparams)
        stops = getattr(self.make_train(hyperparams), "stopping", None) is not None
        mode = self.mode or ("forward" if stops or flat.size <= MAX_FORWARD else "reverse")

        def value_of(flat: Array) -> Array:
            return self._value(unravel(flat), net, data, key, valid, remat=mode == "reverse")

        if mode == "reverse":
            value, gradient = jax.value_and_grad(value_of)(flat)
            return value, unravel(gradient)
        push = jax.vmap(lambda tangent: jax.jvp(value_of, (flat,), (tangent,)), out_axes=(None, 0))
        value, gradient = push(jnp.eye(flat.size, dtype=flat.dtype))
        return value, unravel(gradient.astype(flat.dtype))

    def _value(
        self, hyperparams: PyTree, net: Module, data: Dataset, key: Key, valid: Dataset, remat: bool
    ) -> Array:
        """The metric of one run."""
        train = self.make_train(hyperparams)
        if remat and isinstance(train, Fit):
            train = dataclasses.replace(train, remat=True)
        model = init_if_incomplete(net, _keys.fold_in_name(key, "init"))
        run = train(model, data, _keys.fold_in_name(key, "train"), valid)
        if not isinstance(self.metric, str):
            return scalar(self.metric(run), "metric")
        if not isinstance(train, Fit):
            raise TypeError(
                f"metric must be a function of the Run, since make_train does not return a training "
                f"function from fn.fit, whose loss could measure it, got {self.metric!r}. "
                "Try metric=lambda run: run.history['val_loss'][-1]."
            )
        scores = nan_if_not_finite(run.state, total(train.loss, run.model, valid, len(valid)).means())
        _check.monitored_metric(self.metric, [f"val_{name}" for name in scores], True, "metric")
        return scores[self.metric.removeprefix("val_")]


NO_DERIVATIVE = (
    "The square root in Adam has no derivative where a gradient is exactly 0 (dead units, dropout). Use "
    "optax.adam(rate, eps_root=1e-8)."
)


def _explain_not_finite(value: Array, gradient: PyTree) -> str:
    if not bool(jnp.isfinite(value)):
        return f"the metric is {float(value)}: the run diverged. Use a lower learning rate."
    paths = [path or "it" for path, g in _tree.paths(gradient).items() if not bool(jnp.isfinite(g).all())]
    return (
        f"the derivative with respect to {', '.join(paths)} is not finite, though the metric is. "
        f"{NO_DERIVATIVE}"
    )

"""Tuning hyperparameters by gradient descent on a validation metric, through whole runs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.study._hyper_gradient import (
    NO_DERIVATIVE,
    HyperGradientStudy,
    Metric,
    Mode,
    hyper_gradient,
)
from funcnet.study._study import Study


@_tree.node
class TuneResult:
    """The hyperparameters and the metric of each step of tuning.

    Args:
        best: the hyperparameters with the lowest metric.
        best_value: that metric, [].
        path: the hyperparameters of each run, with a leading axis [steps].
        values: the metric of each run, [steps]; NaN or infinite if it diverged.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> rates, values = jnp.array([0.1, 0.2]), jnp.array([0.5, 0.4])
        >>> result = fn.study.TuneResult(best=rates[1], best_value=values[1], path=rates, values=values)
        >>> round(float(result.best), 4)
        0.2
    """

    best: PyTree
    best_value: Array
    path: PyTree
    values: Array

    def _repr_html_(self) -> str:
        """The hyperparameters and the metric of each step, the best first, for notebooks."""
        from funcnet import _html
        from funcnet.study._notebook import is_shown, show_table

        if not is_shown(self, 1, self.values):
            return _html.plain(self)
        values = np.asarray(self.values)
        paths = {
            name or "hyperparameter": np.asarray(leaf) for name, leaf in _tree.paths(self.path).items()
        }
        order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
        rows = [[int(i), values[i], *(leaf[i] for leaf in paths.values())] for i in order]
        caption = f"{len(values):,} steps, the lowest metric first"
        return show_table(caption, ["step", "metric", *paths], rows)


def tune(
    make_train: Callable[[PyTree], Any],
    metric: Metric = "val_loss",
    *,
    steps: int = 20,
    optimizer: optax.GradientTransformation | None = None,
    log: PyTree = True,
    mode: Mode | None = None,
) -> "TuneStudy":
    """Minimize a metric along its `hyper_gradient`: `study(hyperparams, net, data, key, valid)`.

    Every run has the same initialization and the same order of rows, so the metric is a smooth function of
    the hyperparameters. All runs are one compiled program. After a run that diverged, the next one uses
    the midpoint between its hyperparameters and the best. The score on the validation rows is biased, since
    the hyperparameters were chosen on them: keep a separate test set.

    Args:
        make_train, metric, mode: as for `hyper_gradient`; the metric is minimized.
        steps: the number of runs, at least 1.
        optimizer: updates the hyperparameters. If None, Adam with learning rate 0.1, so that each step
            changes a positive hyperparameter by about a tenth.
        log: whether a hyperparameter is positive and its logarithm is optimized. One boolean, or a pytree
            of booleans with the structure of the hyperparameters.

    Returns:
        The study; its result is a `TuneResult`.

    Raises:
        TypeError: if `make_train` is not a function, or `optimizer` is not an optax transformation.
        ValueError: if `steps` is below 1, or the metric is not a validation value, or better when larger.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(hyperparams):
        ...     return fn.fit(loss, optax.sgd(hyperparams["learning_rate"]), epochs=5, batch_size=8)
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> study = fn.study.tune(make_train)
        >>> result = study({"learning_rate": 0.01}, net, data, jax.random.key(0), data)
        >>> bool(result.best_value < 0.3 * result.values[0]), bool(result.best["learning_rate"] > 0.04)
        (True, True)

    Source: Bengio, "Gradient-based optimization of hyperparameters", 2000.
    """
    gradient = hyper_gradient(make_train, metric, mode=mode)
    if isinstance(metric, str):
        _check.minimized_metric(metric)
    steps = _check.repeats("steps", steps)
    if optimizer is None:
        optimizer = optax.adam(0.1)
    _check.optimizer(optimizer)
    for flag in jax.tree.leaves(log, is_leaf=lambda leaf: leaf is None):
        _check.boolean("log", flag)
    return TuneStudy(gradient, steps, optimizer, log)


@dataclasses.dataclass(frozen=True, eq=False)
class TuneStudy(Study):
    """The study returned by `tune`. Call it; its settings are its fields."""

    gradient: HyperGradientStudy
    steps: int
    optimizer: optax.GradientTransformation
    log: PyTree

    def __call__(
        self, hyperparams: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree
    ) -> TuneResult:
        """Tune, starting from `hyperparams`.

        Args:
            hyperparams: the initial hyperparameters, a pytree of floats or floating arrays.
            net: an architecture, initialized with `key`, or an initial model.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows for the metric.

        Returns:
            A TuneResult.

        Raises:
            TypeError: if a hyperparameter is not floating, or `make_train` does not return a function.
            ValueError: if a hyperparameter with `log` is not positive, the data is unfit, or the metric is
                not measured.
            FloatingPointError: if no run ended with a finite metric, or the derivative at the best one is
                not finite, unless it is the last; not checked under tracing.
        """
        hyperparams, data, valid = self.gradient.check_arguments(hyperparams, net, data, key, valid)
        flags = self._log_flags(hyperparams)
        parts = _tree.paths(hyperparams)
        for is_log, (path, part) in zip(jax.tree.leaves(flags), parts.items(), strict=True):
            if is_log:
                what = f"hyperparams{path}, whose logarithm is optimized,"
                _check.setting(what, part, 0.0, float("inf"))
        result, is_stuck = self._run(None, hyperparams, net, data, key, valid)
        if _tree.is_concrete(is_stuck) and is_stuck:
            raise FloatingPointError(
                "the derivative at the best hyperparameters is not finite, though the metric is, so that "
                f"tuning can't continue from them. {NO_DERIVATIVE}"
            )
        if _tree.is_concrete(result.best_value) and not jnp.isfinite(result.best_value):
            raise FloatingPointError(
                "no run ended with a finite metric. Start from hyperparameters with which a run converges, "
                "such as a lower learning rate."
            )
        return result

    def _log_flags(self, hyperparams: PyTree) -> PyTree:
        """For each leaf, whether its logarithm is optimized."""
        try:
            return jax.tree.map(
                lambda flag, part: jax.tree.map(lambda _: flag, part), self.log, hyperparams
            )
        except ValueError:
            raise ValueError(
                "log must be one boolean, or booleans in the structure of the hyperparameters, got "
                f"{self.log} for {jax.tree.structure(hyperparams)}."
            ) from None

    def _compute(self, static: None, *arrays: PyTree) -> tuple[TuneResult, Array]:
        """The result, and whether the derivative at the best hyperparameters is not finite."""
        hyperparams, *others = arrays
        flags = self._log_flags(hyperparams)
        initial = jax.tree.map(lambda flag, h: jnp.log(h) if flag else h, flags, hyperparams)
        update = optax.with_extra_args_support(self.optimizer).update

        def to_hyperparams(params: PyTree) -> PyTree:
            return jax.tree.map(lambda flag, p: jnp.exp(p) if flag else p, flags, params)

        def step(carry: Any, number: Array) -> Any:
            params, opt_state, best, best_value, is_stuck = carry
            value, gradient = self.gradient.value_and_gradient(to_hyperparams(params), *others)
            _, pull_back = jax.vjp(to_hyperparams, params)
            (gradient,) = pull_back(gradient)
            finite = _tree.all_finite((value, gradient))
            is_best = jnp.isfinite(value) & (value < best_value)
            best = _tree.select(is_best, params, best)
            best_value = jnp.where(is_best, value, best_value)
            # The midpoint to the best is this point; after the last step there is no other.
            is_stuck |= is_best & ~finite & (number < self.steps - 1)
            updates, new_opt_state = update(gradient, opt_state, params)
            new_params = optax.apply_updates(params, updates)
            midpoint = jax.tree.map(lambda a, b: (a + b) / 2, params, best)
            carry = _tree.select(finite, (new_params, new_opt_state), (midpoint, opt_state))
            return (*carry, best, best_value, is_stuck), (to_hyperparams(params), value)

        carry = (initial, self.optimizer.init(initial), initial, jnp.asarray(jnp.inf), jnp.array(False))
        (_, _, best, best_value, is_stuck), (path, values) = jax.lax.scan(
            step, carry, jnp.arange(self.steps)
        )
        return TuneResult(to_hyperparams(best), best_value, path, values), is_stuck

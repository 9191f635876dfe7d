"""Hyper-parameters found by descent: along the derivative of a validation metric through training."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._hyper_gradient import HyperGradient, Measure, Mode, floating, hyper_gradient


@_tree.node
class TuneResult:
    """What tuning found.

    Args:
        best: the hyper-parameters with the lowest metric.
        value: that metric, [].
        path: the hyper-parameters of each training, with a leading axis [steps].
        values: the metric after each training, [steps]; NaN or infinite where it diverged.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> rates, values = jnp.array([0.1, 0.2]), jnp.array([0.5, 0.4])
        >>> tuned = fn.study.TuneResult(best=rates[1], value=values[1], path=rates, values=values)
        >>> round(float(tuned.best), 4)
        0.2
    """

    best: PyTree
    value: Array
    path: PyTree
    values: Array


def tune(
    make_train: Callable[[PyTree], Any],
    metric: Measure = "val_loss",
    *,
    steps: int = 20,
    optimizer: optax.GradientTransformation | None = None,
    log: PyTree = True,
    mode: Mode | None = None,
) -> "Tune":
    """Descend to better hyper-parameters along `hyper_gradient`: `study(hyper, net, data, key, valid)`.

    Every training has the same start and the same order of rows, so that the metric is a smooth
    function of the hyper-parameters. All trainings are one compiled program. After a training that
    diverged, the next goes half-way back to the best. Rows that chose hyper-parameters judge no model:
    keep a third set for that.

    Args:
        make_train, metric, mode: as for `hyper_gradient`; the metric is minimised.
        steps: trainings, at least 1.
        optimizer: what moves the hyper-parameters; Adam with rate 0.1 when left out, so that each
            step changes a positive hyper-parameter by about a tenth.
        log: whether a hyper-parameter stays positive: its logarithm is what moves. One boolean, or a
            pytree of them with the structure of `hyper`.

    Returns:
        The study; its result is a `TuneResult`.

    Raises:
        TypeError: if `make_train` is no function, or `optimizer` no optax transformation.
        ValueError: if `steps` is below 1, or the metric no validation value.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> def make_train(hyper):
        ...     return fn.fit(loss, optax.sgd(hyper["learning_rate"]), epochs=5, batch_size=8)
        >>> net, data = fn.models.LinearRegression(1), (x, 2 * x[:, 0])
        >>> tuned = fn.study.tune(make_train)({"learning_rate": 0.01}, net, data, jax.random.key(0), data)
        >>> bool(tuned.value < 0.3 * tuned.values[0]), bool(tuned.best["learning_rate"] > 0.04)
        (True, True)

    Source: Bengio, "Gradient-based optimization of hyperparameters", 2000.
    """
    study = hyper_gradient(make_train, metric, mode=mode)
    _check.positive("steps", steps)
    if optimizer is None:
        optimizer = optax.adam(0.1)
    _check.optimizer(optimizer)
    return Tune(study, steps, optimizer, log)


@dataclasses.dataclass(frozen=True, eq=False)
class Tune:
    """The study that `tune` made. Call it; its settings are its fields."""

    gradient: HyperGradient
    steps: int
    optimizer: optax.GradientTransformation
    log: PyTree

    def __call__(self, hyper: PyTree, net: Module, data: PyTree, key: Key, valid: PyTree) -> TuneResult:
        """Tune from `hyper` on.

        Args:
            hyper: where to begin, a pytree of floats or floating arrays.
            net: an architecture, drawn by `key`, or a model to start from.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows to judge by.

        Returns:
            A TuneResult.

        Raises:
            TypeError: if a hyper-parameter is not floating, or `make_train` returns no training.
            ValueError: if one that stays positive is not, the data is unfit, or the metric is not
                measured.
            FloatingPointError: if no training ended with a finite metric; not where they are traced.
        """
        _check.key(key)
        hyper = floating(hyper)
        for positive, part in zip(*map(jax.tree.leaves, (self._flags(hyper), hyper)), strict=True):
            if positive:
                _check.setting("a hyper-parameter whose logarithm moves", part, 0.0, float("inf"))
        found = self._compiled(hyper, net, *self.gradient.checked(hyper, net, data, key, valid))
        if _tree.is_concrete(found.value) and not jnp.isfinite(found.value):
            raise FloatingPointError(
                "no training ended with a finite metric, so there is nothing to go back to. Begin where a "
                "training converges, with a smaller learning rate."
            )
        return found

    def _flags(self, hyper: PyTree) -> PyTree:
        """For each leaf whether its logarithm is what moves."""
        try:
            return jax.tree.map(lambda flag, part: jax.tree.map(lambda _: flag, part), self.log, hyper)
        except ValueError:
            raise ValueError(
                f"log is one boolean, or booleans in the structure of the hyper-parameters; got {self.log} "
                f"for {jax.tree.structure(hyper)}."
            ) from None

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self._run)

    def _run(self, hyper: PyTree, net: Module, data: Dataset, key: Key, valid: Dataset) -> TuneResult:
        flags = self._flags(hyper)
        start = jax.tree.map(lambda flag, h: jnp.log(h) if flag else h, flags, hyper)
        update = optax.with_extra_args_support(self.optimizer).update

        def hyper_of(moving: PyTree) -> PyTree:
            return jax.tree.map(lambda flag, m: jnp.exp(m) if flag else m, flags, moving)

        def step(carry: Any, _: None) -> Any:
            moving, state, best, least = carry
            value, slope = self.gradient.value_and_gradient(hyper_of(moving), net, data, key, valid)
            _, chain = jax.vjp(hyper_of, moving)
            (slope,) = chain(slope)
            sound = _tree.all_finite((value, slope))
            best = _tree.select(value < least, moving, best)
            least = jnp.where(value < least, value, least)
            updates, new = update(slope, state, moving)
            onward = optax.apply_updates(moving, updates)
            half_way = jax.tree.map(lambda a, b: (a + b) / 2, moving, best)
            carry = _tree.select(sound, (onward, new), (half_way, state))
            return (*carry, best, least), (hyper_of(moving), value)

        first = (start, self.optimizer.init(start), start, jnp.asarray(jnp.inf))
        (_, _, best, least), (path, values) = jax.lax.scan(step, first, length=self.steps)
        return TuneResult(hyper_of(best), least, path, values)

"""The learning rate range test: which rates train, and which rate to start with."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.study._members import ProgressCallback, init_if_incomplete, model_of_shapes
from funcnet.study._study import MemberStudy, check_net, to_rows
from funcnet.train import Fit
from funcnet.train._evaluate import total

MARGIN = 3.0  # the suggestion is at most the lowest diverging rate divided by this


@dataclasses.dataclass(frozen=True)
class LearningRateRangeResult:
    """The losses of short runs by learning rate.

    Args:
        rates: the learning rates, increasing, float [rates].
        losses: the training loss in the last epoch of each run, [rates, repeats]; infinite if the run
            diverged.
        losses_at_init: the loss of each initialization before training, [repeats].

    Example:
        >>> import numpy as np, funcnet as fn
        >>> rates, losses = np.array([0.01, 0.1, 1.0, 2.0]), np.array([[0.9], [0.5], [0.2], [np.inf]])
        >>> fn.study.LearningRateRangeResult(rates, losses, losses_at_init=np.array([1.0])).suggestion
        0.1
    """

    rates: np.ndarray
    losses: np.ndarray
    losses_at_init: np.ndarray

    def _repr_html_(self) -> str:
        """The median loss of each learning rate, the best first, for notebooks."""
        from funcnet.study._notebook import show_table

        order = np.argsort(self.median, kind="stable")
        diverges = (
            f"{self.min_diverging_rate:.3g}" if np.isfinite(self.min_diverging_rate) else "none tested"
        )
        return show_table(
            f"{len(self.rates):,} learning rates, the lowest loss first; lowest that diverges: {diverges}",
            ["learning rate", f"training loss, median of {self.losses.shape[1]}"],
            [[self.rates[i], self.median[i]] for i in order],
        )

    @property
    def median(self) -> np.ndarray:
        """The median loss over repeats, [rates]; infinite if half of them diverged."""
        return np.median(self.losses, axis=1)

    @property
    def min_diverging_rate(self) -> float:
        """The lowest rate at and above which every rate ends with a higher loss than at init; else inf."""
        worse = ~(self.median <= np.median(self.losses_at_init))
        first = len(worse) - int(np.argmin(worse[::-1])) if not worse.all() else 0
        return float(self.rates[first]) if first < len(self.rates) else float("inf")

    @property
    def suggestion(self) -> float:
        """The tested rate with the lowest median loss, at most a third of `min_diverging_rate`.

        A short run reaches its lowest loss at a higher rate than a long run does; hence the third.
        """
        allowed = self.rates <= self.min_diverging_rate / MARGIN
        if not allowed.any():
            raise ValueError(
                f"no tested rate is at most a third of {self.min_diverging_rate:g}, the lowest that "
                "diverges. Test lower ones: "
                f"min_lr={self.rates[0] / 1000:g}."
            )
        return float(self.rates[allowed][np.argmin(self.median[allowed])])


def learning_rate_range(
    make_train: Callable[[Array], Fit],
    *,
    min_lr: float = 1e-5,
    max_lr: float = 10.0,
    num_rates: int = 30,
    num_repeats: int = 3,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "LearningRateRangeStudy":
    """Short runs with constant learning rates from `min_lr` to `max_lr`: `study(net, data, key)`.

    All rates and repeats are one program. Each rate has its own runs, instead of one step in a single run
    with an increasing rate, so lower rates do not affect the weights.

    Args:
        make_train: returns a short training function for a learning rate, a traced scalar:
            `lambda rate: fn.fit(loss, optax.adam(rate), epochs=3)`.
        min_lr, max_lr: the lowest and the highest rate, above 0.
        num_rates: the number of rates, spaced evenly in their logarithm.
        num_repeats: the number of runs for each rate, each with its own initialization and order of rows.
        block: the number of runs computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of runs it finished.

    Returns:
        The study; its result is a `LearningRateRangeResult`. Early stopping is disabled, so that every run
        completes all epochs.

    Raises:
        TypeError: if `make_train` is not a function.
        ValueError: if `min_lr` is not below `max_lr`, `num_rates` below 2, or `num_repeats` below 1.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> study = fn.study.learning_rate_range(lambda rate: fn.fit(loss, optax.sgd(rate), epochs=2))
        >>> result = study(fn.MLP((1, 8, "scalar")), (x, x[:, 0]), jax.random.key(0))
        >>> 1e-2 < result.suggestion < result.min_diverging_rate
        True

    Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3, where the
    rate increases within one run.
    """
    _check.train_factory(
        make_train, "a function of the learning rate that returns a training function", None
    )
    min_lr = _check.above_zero("min_lr", min_lr)
    max_lr = _check.above_zero("max_lr", max_lr)
    num_rates = _check.repeats("num_rates", num_rates)
    num_repeats = _check.repeats("num_repeats", num_repeats)
    if not (min_lr < max_lr and num_rates > 1):
        raise ValueError(
            f"num_rates must be at least 2 and min_lr below max_lr, got num_rates={num_rates}, "
            f"min_lr={min_lr}, max_lr={max_lr}."
        )
    return LearningRateRangeStudy(
        make_train, min_lr, max_lr, num_rates, num_repeats, block=block, progress=progress
    )


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRateRangeStudy(MemberStudy):
    """The study returned by `learning_rate_range`. Call it; its settings are its fields."""

    SHARED = ("rates", "net", "data", "key")

    make_train: Callable[[Array], Fit]
    min_lr: float
    max_lr: float
    num_rates: int
    num_repeats: int

    @property
    def num_members(self) -> int:
        return self.num_rates * self.num_repeats

    def __call__(self, net: Module, data: PyTree, key: Key) -> LearningRateRangeResult:
        """Train with each rate.

        Args:
            net: an architecture, before `init`; if it has parameters, every run starts from them.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.

        Returns:
            A LearningRateRangeResult.

        Raises:
            TypeError: if `make_train` does not return a training function, or `key` is not a PRNG key.
            ValueError: if the data is unfit.
        """
        _check.concrete_key("learning_rate_range", key)
        rates = np.geomspace(self.min_lr, self.max_lr, self.num_rates)
        train = self.make_train(jnp.asarray(rates[0], float))
        _check.train_function(train, "the result of make_train")
        check_net(net)
        model = model_of_shapes(net, key)
        data = to_rows("data", data, train.loss, model, concrete=True)
        shared = jnp.asarray(rates, float), net, data, key
        losses, losses_at_init = self._run_members(model, self.num_rates * self.num_repeats, shared)
        losses = np.asarray(losses, float).reshape(self.num_rates, self.num_repeats)
        losses = np.where(np.isnan(losses), np.inf, losses)
        return LearningRateRangeResult(rates, losses, np.asarray(losses_at_init, float))

    def _member(self, static: None, shared: Any, number: Array) -> Array:
        """The loss in the last epoch of one run."""
        rates, net, data, key = shared
        own = jax.random.fold_in(_keys.fold_in_name(key, "start"), number % self.num_repeats)
        # A run that stops early because it succeeds has no last epoch, like one that diverges.
        train = dataclasses.replace(self.make_train(rates[number // self.num_repeats]), stopping=None)
        model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
        return train(model, data, _keys.fold_in_name(own, "train")).history["loss"][-1]

    def _combine(self, static: None, shared: Any, results: Array) -> tuple[Array, Array]:
        """The losses of all runs, and the loss of each initialization."""
        rates, net, data, key = shared
        loss = self.make_train(rates[0]).loss

        def loss_at_init(repeat: Array) -> Array:
            own = jax.random.fold_in(_keys.fold_in_name(key, "start"), repeat)
            model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
            return total(loss, model, data, min(1024, len(data)), keep_rows=False).means()["loss"]

        return results, jax.lax.map(loss_at_init, jnp.arange(self.num_repeats, dtype=jnp.int32))

"""The range test: which learning rates train at all, and which to begin with."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _mesh
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Fit
from funcnet.train._evaluate import checked_data, total

MARGIN = 3.0  # how far below the first rate that diverges a suggestion stays


@dataclasses.dataclass(frozen=True)
class LearningRateRangeResult:
    """What a range test found.

    Args:
        rates: the learning rates, rising, float [rates].
        losses: the training loss in each training's last epoch, [rates, starts]; infinite where a
            training diverged.
        before: the loss of each start before training, [starts].

    Example:
        >>> import numpy as np, funcnet as fn
        >>> losses = np.array([[0.9], [0.5], [0.2], [np.inf]])
        >>> fn.study.LearningRateRangeResult(np.array([0.01, 0.1, 1.0, 2.0]), losses, np.array([1.0])).suggestion
        0.1
    """

    rates: np.ndarray
    losses: np.ndarray
    before: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """The median loss over starts, [rates]; infinite where half of them diverged."""
        return np.median(self.losses, axis=1)

    @property
    def diverges(self) -> float:
        """The lowest rate from which on every rate ends worse than it began; infinite if none does."""
        worse = ~(self.median <= np.median(self.before))
        first = len(worse) - int(np.argmin(worse[::-1])) if not worse.all() else 0
        return float(self.rates[first]) if first < len(self.rates) else float("inf")

    @property
    def suggestion(self) -> float:
        """The tested rate with the lowest median loss that is at most a third of where training diverges.

        A short training wants a higher rate than a long one, hence the third.
        """
        allowed = self.rates <= self.diverges / MARGIN
        if not allowed.any():
            raise ValueError(
                f"every rate from {self.rates[0]:g} on diverges: test lower ones, "
                f"low={self.rates[0] / 1000:g}."
            )
        return float(self.rates[allowed][np.argmin(self.median[allowed])])


def learning_rate_range(
    make_train: Callable[[Array], Fit],
    *,
    low: float = 1e-5,
    high: float = 10.0,
    rates: int = 30,
    starts: int = 3,
    block: int | None = None,
    progress: Progress | None = None,
) -> "RangeTest":
    """Short trainings with constant learning rates from `low` to `high`: `study(net, data, key)`.

    All rates and starts are one program. A rate is judged by trainings of its own, not by one step of a
    single training with a rising rate, so that what earlier rates did to the weights plays no part.

    Args:
        make_train: makes a short training of a learning rate, a scalar that is traced:
            `lambda rate: fn.fit(loss, optax.adam(rate), epochs=3)`.
        low, high: the lowest and the highest rate, above 0.
        rates: how many, evenly spaced in their logarithm.
        starts: trainings for each rate: each with a start and an order of its own.
        block: trainings computed side by side; chosen when left out.
        progress: called on the host with how many more trainings are done, after each block.

    Returns:
        The study; its result is a `LearningRateRangeResult`. Early stopping is left out: all train all epochs.

    Raises:
        TypeError: if `make_train` is no function.
        ValueError: if `low` is not below `high`, there are fewer than two rates, or no start.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> test = fn.study.learning_rate_range(lambda rate: fn.fit(loss, optax.sgd(rate), epochs=2))
        >>> found = test(fn.MLP((1, 8, "scalar")), (x, x[:, 0]), jax.random.key(0))
        >>> 1e-2 < found.suggestion < found.diverges
        True

    Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3, who
    raises the rate within one training.
    """
    _check.function("make_train", make_train, "a function of the learning rate that returns a training")
    _check.above_zero("low", low)
    _check.above_zero("high", high)
    _check.positive("rates", rates)
    _check.positive("starts", starts)
    if not (low < high and rates > 1):
        raise ValueError(f"a range has two rates or more, low below high; got {rates}, {low} to {high}.")
    check_blocks(block, progress)
    return RangeTest(make_train, low, high, rates, starts, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class RangeTest:
    """The study that `learning_rate_range` made. Call it; its settings are its fields."""

    make_train: Callable[[Array], Fit]
    low: float
    high: float
    rates: int
    starts: int
    block: int | None
    progress: Progress | None

    def __call__(self, net: Module, data: PyTree, key: Key) -> LearningRateRangeResult:
        """Train with each rate.

        Args:
            net: an architecture, before `init`; parameters that it has already are every start.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.

        Returns:
            A LearningRateRangeResult.

        Raises:
            TypeError: if `make_train` returns no training, or the key is none.
            ValueError: if the data is unfit.
        """
        _check.concrete_key("learning_rate_range", key)
        values = np.geomspace(self.low, self.high, self.rates)
        train = self.make_train(jnp.asarray(values[0], float))
        _check.train_function(train)
        data = checked_data(train.loss, start(net, key), data)
        losses, before = self._compiled(jnp.asarray(values, float), net, data, key, _mesh.num_devices())
        losses = np.asarray(losses, float).reshape(self.rates, self.starts)
        return LearningRateRangeResult(
            values, np.where(np.isnan(losses), np.inf, losses), np.asarray(before, float)
        )

    @functools.cached_property
    def _compiled(self) -> Any:
        def run(values: Array, net: Module, data: Dataset, key: Key, devices: int) -> Any:
            del devices  # a part of what is compiled: see `mesh.use`
            shared, numbers = (values, net, data, key), jnp.arange(self.starts, dtype=jnp.int32)
            small = is_small(jax.eval_shape(start, net, key))
            size = self.rates * self.starts
            losses = each_member(self._one, shared, size, self.block, small, self.progress)
            return losses, jax.lax.map(functools.partial(self._before, shared), numbers)

        return jax.jit(run, static_argnums=4)

    def _one(self, shared: Any, number: Array) -> Array:
        """The last epoch's loss of one training."""
        values, net, data, key = shared
        own = jax.random.fold_in(_keys.named(key, "start"), number % self.starts)
        # A training that stops early because it succeeds has no last epoch, as one that diverges.
        train = dataclasses.replace(self.make_train(values[number // self.starts]), stopping=None)
        run = train(start(net, _keys.named(own, "init")), data, _keys.named(own, "train"))
        return run.history["loss"][-1]

    def _before(self, shared: Any, number: Array) -> Array:
        """The loss of one start."""
        values, net, data, key = shared
        own = jax.random.fold_in(_keys.named(key, "start"), number)
        model = start(net, _keys.named(own, "init"))
        loss = self.make_train(values[0]).loss
        return total(loss, model, data, min(1024, len(data))).means()["loss"]

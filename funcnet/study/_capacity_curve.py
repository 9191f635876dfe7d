"""The error against the capacity of a model: its width, depth or degree."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._curve import Curve, train_and_val_scores
from funcnet.study._members import ProgressCallback, init_if_incomplete, model_of_shapes
from funcnet.study._study import MemberStudy, to_rows
from funcnet.train import Fit

Scores = dict[str, Array]


def capacity_curve(
    make_train: Callable[[Any], tuple[Fit, Module]],
    capacities: Sequence[Any],
    num_repeats: int,
    *,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "CapacityCurveStudy":
    """Train models of several capacities on the same rows, several times each: `study(data, key, valid)`.

    The capacity changes shapes, so each capacity has its own program, compiled once for all its repeats.
    Repeat i uses the same keys for every capacity. For widths and depths of an MLP, `sweep_sizes` is one
    program.

    Args:
        make_train: called with a capacity; returns a pair (training function, network).
        capacities: the arguments of `make_train`, one or more: widths, degrees, names.
        num_repeats: the number of runs for each capacity, each with another initialization and order of
            rows.
        block: the number of runs computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of runs it finished.

    Returns:
        The study; its result is a `Curve` over "capacity".

    Raises:
        TypeError: if `make_train` is not a function; in the call, if it does not return a pair.
        ValueError: if there is no capacity, or `num_repeats` or `block` is below 1.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> data = fn.data.two_moons(60, seed=0).data
        >>> rows, valid = fn.data.split(data, (0.5, 0.5), jax.random.key(0))
        >>> loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(0.05), epochs=30, batch_size=30)
        >>> study = fn.study.capacity_curve(lambda width: (train, fn.MLP((2, width, "scalar"))), (1, 16), 4)
        >>> curve = study(rows, jax.random.key(1), valid)
        >>> curve.scores["val_accuracy"].shape, curve.mean["loss"][1] < curve.mean["loss"][0]
        ((2, 4), np.True_)

    Source: Belkin et al., "Reconciling modern machine-learning practice and the classical bias-variance
    trade-off", 2019.
    """
    _check.train_factory(
        make_train, "a function of a capacity that returns (training function, network)", None
    )
    if (
        isinstance(capacities, str | bytes | Mapping)
        or not isinstance(capacities, Iterable)
        or (getattr(capacities, "ndim", 1) == 0)
    ):
        raise TypeError(
            f"capacities must be a sequence, got {_check.describe(capacities)}. Try capacities=(2, 8, 32)."
        )
    capacities = tuple(capacities)
    if not capacities:
        raise ValueError("capacities must not be empty. Try capacities=(2, 8, 32).")
    num_repeats = _check.repeats("num_repeats", num_repeats)
    return CapacityCurveStudy(make_train, capacities, num_repeats, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class CapacityCurveStudy(MemberStudy):
    """The study returned by `capacity_curve`. Call it; its settings are its fields."""

    SHARED = ("net", "data", "key", "valid")

    make_train: Callable[[Any], tuple[Fit, Module]]
    capacities: tuple[Any, ...]
    num_repeats: int

    @property
    def num_members(self) -> int:
        return len(self.capacities) * self.num_repeats

    def __call__(self, data: PyTree, key: Key, valid: PyTree) -> Curve:
        """Train models of all capacities.

        Args:
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows for the validation scores.

        Returns:
            A Curve.

        Raises:
            TypeError: if `make_train` does not return a training function and a network, or `key` is not a
                PRNG key.
            ValueError: if the data is unfit.
        """
        _check.concrete_key("capacity_curve", key)
        points = []
        for index, (train, net) in enumerate(self._pairs):
            model = model_of_shapes(net, key)
            rows, valid_rows = (
                to_rows(name, part, train.loss, model, concrete=True)
                for name, part in (("data", data), ("valid", valid))
            )
            shared = net, rows, key, valid_rows
            points.append(self._run_members(model, self.num_repeats, shared, static=index))
        scores = {name: np.stack([np.asarray(point[name]) for point in points]) for name in points[0]}
        return Curve("capacity", self.capacities, scores)

    @functools.cached_property
    def _pairs(self) -> list[tuple[Fit, Module]]:
        """The training function and the network of each capacity."""
        pairs = []
        for capacity in self.capacities:
            pair = self.make_train(capacity)
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise TypeError(
                    f"make_train must return a pair (training function, network), got "
                    f"{_check.describe(pair)} for {capacity!r}. "
                    "Try make_train=lambda width: (train, fn.MLP((4, width, 3)))."
                )
            _check.train_function(pair[0], "the first result of make_train")
            _check.architecture(pair[1], "the second result of make_train")
            pairs.append(pair)
        return pairs

    def _member(self, static: int, shared: tuple[Module, Dataset, Key, Dataset], number: Array) -> Scores:
        net, data, key, valid = shared
        train, _ = self._pairs[static]
        own = jax.random.fold_in(_keys.fold_in_name(key, "repeat"), number)
        model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
        run = train(model, data, _keys.fold_in_name(own, "train"))
        return train_and_val_scores(train, run, data, valid)

    def _combine(self, static: int, shared: Any, results: Scores) -> Scores:
        return results

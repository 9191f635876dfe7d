"""The error against the number of training rows, with all numbers of rows in one program."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.data._shuffle import Shuffle
from funcnet.study._curve import Curve, train_and_val_scores
from funcnet.study._members import (
    ProgressCallback,
    check_equal_sizes,
    check_start_is_drawn,
    init_if_incomplete,
    model_of_shapes,
)
from funcnet.study._study import MemberStudy, to_rows
from funcnet.train import Fit

Scores = dict[str, Array]


def learning_curve(
    train: Fit,
    train_sizes: Sequence[int],
    num_repeats: int,
    *,
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "LearningCurveStudy":
    """Train on increasing numbers of rows, `num_repeats` times each: `study(net, data, key, valid)`.

    Each repeat shuffles the rows and takes the first of them, so a smaller set is part of every larger
    one; initialization and order of rows are the same for all sets of a repeat. Rows outside of a set
    have weight zero, so all sets of all repeats are one program.

    All sets are trained for the same number of epochs, so each of their rows is used equally often. An
    epoch keeps the batches of the full data, and a set of r out of n rows fills r / n of each batch on
    average. There are as many updates as on the full data, each the mean over fewer rows (an empty batch
    makes no update). A small set therefore has fewer rows, but not fewer epochs or updates; its gradients
    are noisier. If `batch_size` is the number of all rows, every update is the mean over the whole set,
    exactly as in a run on that set alone.

    Sets of nearly all rows share most of their rows, so their repeats differ in initialization and order
    more than in rows, and their standard errors say little about other data.

    Args:
        train: a training function, from `fn.fit`.
        train_sizes: increasing numbers of training rows.
        num_repeats: the number of runs for each size, each with other rows and another initialization.
        block: the number of runs computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of runs it finished.

    Returns:
        The study; its result is a `Curve` over "training rows".

    Raises:
        TypeError: if `train` is not a training function, or `train_sizes` are not integers.
        ValueError: if `train_sizes` do not increase, or `num_repeats` or `block` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> data = fn.data.friedman1(120, seed=0).data
        >>> train_rows, valid_rows = fn.data.split(data, (0.5, 0.5), jax.random.key(0))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.3), epochs=60, batch_size=60)
        >>> study = fn.study.learning_curve(train, (15, 30, 60), 5)
        >>> curve = study(fn.models.LinearRegression(10), train_rows, jax.random.key(1), valid_rows)
        >>> curve.scores["val_loss"].shape
        (3, 5)
        >>> curve.mean["loss"][0] < curve.mean["loss"][2] < curve.mean["val_loss"][2]
        np.True_

    Source: Cortes et al., "Learning curves: asymptotic values and rate of convergence", 1993.
    """
    _check.train_function(train)
    _check.increasing("train_sizes", train_sizes)
    num_repeats = _check.repeats("num_repeats", num_repeats)
    return LearningCurveStudy(train, tuple(train_sizes), num_repeats, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class LearningCurveStudy(MemberStudy):
    """The study returned by `learning_curve`. Call it; its settings are its fields."""

    SHARED = ("net", "data", "key", "valid")

    train: Fit
    train_sizes: tuple[int, ...]
    num_repeats: int

    @property
    def num_members(self) -> int:
        return len(self.train_sizes) * self.num_repeats

    def __call__(self, net: Module, data: PyTree, key: Key, valid: PyTree) -> Curve:
        """Train on all sets of rows.

        Args:
            net: an architecture, before `init`; if it has parameters, every run starts from them.
            data: a Dataset, or a tuple of arrays [n, ...]; its weights are used, and rows of weight zero
                are not counted.
            key: a typed key.
            valid: the rows for the validation scores.

        Returns:
            A Curve.

        Raises:
            TypeError: if `net` is not a module with an `init`, or `key` is not a PRNG key.
            ValueError: if the data is unfit, or has fewer rows than the largest of `train_sizes`.
        """
        _check.architecture(net)
        check_start_is_drawn(net)
        _check.concrete_key("learning_curve", key)
        model = model_of_shapes(net, key)
        data, valid = (
            to_rows(name, part, self.train.loss, model, concrete=True)
            for name, part in (("data", data), ("valid", valid))
        )
        advice = "Call the training function once for each size."
        check_equal_sizes(model, True, "sets of rows of several sizes", advice)
        num_rows = int(np.sum(np.asarray(data.weights()) > 0))
        if self.train_sizes[-1] > num_rows:
            raise ValueError(
                f"train_sizes must be at most {num_rows}, the number of rows with a weight, got "
                f"{self.train_sizes[-1]}. Try train_sizes=({num_rows},)."
            )
        shared = net, Dataset(data[:], weight=data.weights()), key, valid
        shape = len(self.train_sizes), self.num_repeats
        scores = self._run_members(model, shape[0] * shape[1], shared)
        arrays = {name: np.asarray(values).reshape(shape) for name, values in scores.items()}
        return Curve("training rows", self.train_sizes, arrays)

    def _member(self, static: None, shared: tuple[Module, Dataset, Key, Dataset], number: Array) -> Scores:
        net, data, key, valid = shared
        train_size = jnp.array(self.train_sizes, jnp.int32)[number // self.num_repeats]
        own = jax.random.fold_in(_keys.fold_in_name(key, "repeat"), number % self.num_repeats)
        position = Shuffle.draw(_keys.fold_in_name(own, "rows"), len(data))(
            jnp.arange(len(data), dtype=jnp.int32)
        )
        has_weight = data.weights() > 0
        rank = jnp.cumsum(jnp.zeros(len(data), jnp.int32).at[position].set(has_weight.astype(jnp.int32)))
        # In shuffled order, row i is number rank[position[i]] of the rows with a weight.
        in_set = (rank[position] <= train_size).astype(float)
        subset = Dataset(data.arrays, weight=data.weights() * in_set)
        model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
        run = self.train(model, subset, _keys.fold_in_name(own, "train"))
        return train_and_val_scores(self.train, run, subset, valid)

    def _combine(self, static: None, shared: Any, results: Scores) -> Scores:
        return results

"""The error against the number of training rows, all numbers as one program."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _mesh
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.data._shuffle import Shuffle
from funcnet.study._curve import Curve, both_scores
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Fit
from funcnet.train._evaluate import checked_data


def learning_curve(
    train: Fit,
    rows: Sequence[int],
    size: int,
    *,
    block: int | None = None,
    progress: Progress | None = None,
) -> "LearningCurveStudy":
    """Train on more and more rows, `size` times each: `study(net, data, key, valid)`.

    Each repeat shuffles the rows and takes the first of them, so a smaller set is a part of every larger
    one; start and order are the same for all sets of a repeat. Rows outside of a set have weight zero and
    are not seen, so all sets of all repeats are one program.

    All sets are trained for the same number of epochs: each visible row is seen as often. An epoch keeps
    the full data's batches, of which a set of r out of n rows fills r / n on average: as many updates as
    on the full data, each the mean over fewer rows (an empty batch makes none). So what a small set lacks
    is rows, and neither epochs nor updates; but its gradients are noisier. With `batch_size` of all rows,
    every update is the mean over the whole set, exactly as if it were trained alone.

    Sets close to all rows share most of them, and their repeats differ by start and order more than by
    rows: their standard errors say little about other data.

    Args:
        train: a training, as `fit` makes it.
        rows: rising numbers of training rows.
        size: how often each number is tried, each time with other rows and another start.
        block: trainings computed side by side; chosen when left out.
        progress: called on the host with how many more trainings are done, after each block.

    Returns:
        The study; its result is a `Curve` over "training rows".

    Raises:
        TypeError: if `train` is no training, or `rows` are no whole numbers.
        ValueError: if `rows` don't rise, or `size` or `block` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> data = fn.data.friedman1(120, seed=0).data
        >>> train_rows, valid_rows = fn.data.split(data, (0.5, 0.5), jax.random.key(0))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.3), epochs=60, batch_size=60)
        >>> study = fn.study.learning_curve(train, (15, 30, 60), 5)
        >>> found = study(fn.models.LinearRegression(10), train_rows, jax.random.key(1), valid_rows)
        >>> found.scores["val_loss"].shape
        (3, 5)
        >>> found.mean["loss"][0] < found.mean["loss"][2] < found.mean["val_loss"][2]
        np.True_

    Source: Cortes et al., "Learning curves: asymptotic values and rate of convergence", 1993.
    """
    _check.train_function(train)
    _check.increasing("rows", rows)
    _check.positive("size", size)
    check_blocks(block, progress)
    return LearningCurveStudy(train, tuple(rows), size, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class LearningCurveStudy:
    """The study that `learning_curve` made. Call it; its settings are its fields."""

    train: Fit
    rows: tuple[int, ...]
    size: int
    block: int | None
    progress: Progress | None

    def __call__(self, net: Module, data: PyTree, key: Key, valid: PyTree) -> Curve:
        """Train on all sets of rows.

        Args:
            net: an architecture, before `init`; parameters that it has already are every start.
            data: a Dataset, or a tuple of arrays [n, ...]; its weights count on, and rows of weight zero
                are none of the numbers of rows.
            key: a typed key.
            valid: the rows to judge by.

        Returns:
            A Curve.

        Raises:
            TypeError: if `net` is no module with an `init`, or the key is none.
            ValueError: if the data is unfit, or has fewer rows than are asked for.
        """
        _check.architecture(net)
        _check.concrete_key("learning_curve", key)
        model = start(net, key)
        data, valid = (checked_data(self.train.loss, model, part) for part in (data, valid))
        counted = int(np.sum(np.asarray(data.weights()) > 0))
        if self.rows[-1] > counted:
            raise ValueError(f"data has {counted} rows that count; got rows up to {self.rows[-1]}.")
        scores = self._compiled(
            net, Dataset(data[:], weight=data.weights()), key, valid, _mesh.num_devices()
        )
        shape = (len(self.rows), self.size)
        return Curve(
            "training rows", self.rows, {k: np.asarray(v).reshape(shape) for k, v in scores.items()}
        )

    def _one(self, shared: tuple[Module, Dataset, Key, Dataset], number: Array) -> dict[str, Array]:
        net, data, key, valid = shared
        count = jnp.array(self.rows, jnp.int32)[number // self.size]
        own = jax.random.fold_in(_keys.named(key, "repeat"), number % self.size)
        place = Shuffle.draw(_keys.named(own, "rows"), len(data))(jnp.arange(len(data), dtype=jnp.int32))
        counts = data.weights() > 0
        before = jnp.cumsum(jnp.zeros(len(data), jnp.int32).at[place].set(counts.astype(jnp.int32)))
        # Row i is the before[place[i]]-th of those that count; the others weigh nothing anyhow.
        seen = Dataset(data.arrays, weight=data.weights() * (before[place] <= count).astype(float))
        run = self.train(start(net, _keys.named(own, "init")), seen, _keys.named(own, "train"))
        return both_scores(self.train, run.model, seen, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        def run(net: Module, data: Dataset, key: Key, valid: Dataset, devices: int) -> dict[str, Array]:
            del devices  # a part of what is compiled: see `mesh.use`
            small = is_small(jax.eval_shape(start, net, key))
            shared = (net, data, key, valid)
            size = len(self.rows) * self.size
            return each_member(self._one, shared, size, self.block, small, self.progress)

        return jax.jit(run, static_argnums=4)

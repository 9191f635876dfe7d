"""A sweep over the sizes of an MLP, with all sizes in one program: each is padded to the largest."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.models import MLP
from funcnet.study._curve import Curve, train_and_val_scores
from funcnet.study._members import ProgressCallback
from funcnet.study._padded import PaddedMLP, common_shape, unpad
from funcnet.study._padded_init import init_padded
from funcnet.study._padding_check import (
    check_examples,
    check_loss,
    check_nets,
    check_optimizer,
    check_train,
)
from funcnet.study._study import MemberStudy, check_concrete, to_rows
from funcnet.train import Fit, Run

Scores = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class SweepSizesResult:
    """The runs of all sizes, and their scores.

    It is not a `Curve`, since it also holds runs and has a best size; `curve` is one.

    Args:
        curve: loss and metrics of the final models, [sizes, repeats] by name, as of `capacity_curve`.
        monitor: the name of the score.
        mode: whether "min" or "max" is best.
        nets: the network of each size.
        runs: the runs of all members, stacked, with padded models: repeat r of size i is number
            i * repeats + r. Take one by `run`, whose model has its true shapes.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.02), epochs=5)
        >>> make_net = lambda width, depth: fn.MLP((1, *(width,) * depth, "scalar"))
        >>> study = fn.study.sweep_sizes(make_net, train, [(2, 1), (8, 2)])
        >>> result = study((x, x[:, 0] ** 2), jax.random.key(0), (x, x[:, 0] ** 2))
        >>> result.best, result.scores.shape, result.run(0).model.sizes
        ((8, 2), (2, 1), (1, 2, 'scalar'))
    """

    curve: Curve
    monitor: str
    mode: Literal["min", "max"]
    nets: list[MLP]
    runs: Run

    def __post_init__(self) -> None:
        _check.choice("mode", self.mode, ("min", "max"))
        if self.monitor not in self.curve.scores:
            raise ValueError(
                f"monitor must be a name of a score ({', '.join(self.curve.scores)}), got {self.monitor!r}."
            )

    def _repr_html_(self) -> str:
        """The means of the scores by size, for notebooks."""
        return self.curve._repr_html_()

    @property
    def sizes(self) -> tuple[Any, ...]:
        """The sizes, as they were passed to `sweep_sizes`."""
        return self.curve.x

    @property
    def scores(self) -> np.ndarray:
        """The monitored value on the validation rows, [sizes, repeats]."""
        return self.curve.scores[self.monitor]

    @property
    def order(self) -> np.ndarray:
        """Indices of the sizes by their mean score, the best first; those with a score that is not finite
        last.
        """
        means = np.where(np.isfinite(self.scores).all(axis=1), self.curve.mean[self.monitor], np.nan)
        return np.argsort(means if self.mode == "min" else -means, kind="stable")

    @property
    def best(self) -> Any:
        """The size with the best mean score; ValueError if no size has finite scores."""
        if not np.isfinite(self.scores).all(axis=1).any():
            raise ValueError(
                f"no size has finite scores, got {self.scores.tolist()}. Try a smaller learning rate."
            )
        return self.sizes[self.order[0]]

    def run(self, size_index: int, repeat: int = 0) -> Run:
        """The run of one repeat of one size, as of the network alone: model and state have its shapes.

        Raises:
            ValueError: if there is no such size or repeat.
        """
        place = []
        names = ("size_index", "repeat")
        for name, value, count in zip(names, (size_index, repeat), self.scores.shape, strict=True):
            place.append(_check.not_negative(name, value))
            if place[-1] >= count:
                raise ValueError(f"{name} must be below {count}, got {value}.")
        number = place[0] * self.scores.shape[1] + place[1]
        return unpad(jax.tree.map(lambda a: a[number], self.runs), self.nets[place[0]])


def sweep_sizes(
    make_net: Callable[..., MLP],
    train: Fit,
    sizes: Sequence[Any],
    num_repeats: int = 1,
    *,
    monitor: str = "val_loss",
    mode: Literal["min", "max"] = "min",
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "SweepSizesStudy":
    """Train MLPs of several widths and depths as one program: `study(data, key, valid)`.

    Every network is padded with zeros to the largest width of each layer and the largest depth, so that all
    have one shape, and all members train side by side. Padding changes no number: a member's initial
    weights, dropout and order of rows are those of its network alone, and its loss, gradients, updates and
    scores are the same up to the order of summation. Such rounding grows in training, as that of another
    batch of members does.

    One program is compiled, where `capacity_curve` compiles one for each size; but each member costs the
    arithmetic of the largest. That pays for many small networks. Where compiling takes a small part of the
    time, or one size is far larger than the others, use `capacity_curve`; its repeats have the same keys,
    so the scores are the same.

    Before anything is trained, the smallest network is compared with itself padded: the loss, its metrics
    and its gradient on a few rows, and some updates of the optimizer. Optimizers of optax that treat each
    number by itself or use norms are exact (SGD, Adam, AdamW, Lion, RMSProp, LAMB, clipping by the global
    norm, ...); Adafactor, Muon, Yogi, SM3, L-BFGS, centralized gradients and noise are refused.

    Args:
        make_net: called with a size, `make_net(size)`, or with the entries of a tuple, `make_net(*size)`;
            returns a `fn.MLP` before `init`. Only the hidden sizes and `weight_init` may differ.
        train: a training function, from `fn.fit`.
        sizes: the arguments of `make_net`, one or more.
        num_repeats: the number of runs for each size, each with another initialization and order of rows;
            repeat i has the same keys for every size.
        monitor: the value that scores a size: "val_" and the name of the loss or a metric.
        mode: whether "min" or "max" of it is best.
        block: the number of runs computed side by side; chosen by memory if None.
        progress: called on the host after each block with the number of runs it finished.

    Returns:
        The study; its result is a `SweepSizesResult`.

    Raises:
        TypeError: if `make_net` is not a function or `train` not a training function; if a network is not
            a plain MLP before `init`.
        ValueError: if there is no size, `num_repeats` or `block` is below 1, `monitor` is not a validation
            value, or an accuracy would be minimized; if networks differ in more than their hidden sizes; in
            the call, if padding would change the loss, its gradient or an update.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> train_rows, valid = fn.data.split(iris, (0.7, 0.3), jax.random.key(0), stratify=iris.arrays[1])
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adamw(1e-2), epochs=10, batch_size=16)
        >>> make_net = lambda width, depth: fn.MLP((4, *(width,) * depth, 3))
        >>> study = fn.study.sweep_sizes(make_net, train, [(4, 1), (16, 1), (16, 2)], num_repeats=2)
        >>> result = study(train_rows, jax.random.key(1), valid)
        >>> result.scores.shape, result.curve.scores["val_accuracy"].shape
        ((3, 2), (3, 2))
        >>> result.run(0, repeat=1).model.sizes
        (4, 4, 3)

    Source: Yu, Yang, Xu, Yang, Huang, "Slimmable neural networks", 2019 (networks of several widths in the
    arrays of the widest; they share their weights, which the members here do not).
    """
    expected = "a function of a size that returns a fn.MLP, such as lambda width: fn.MLP((64, width, 10))"
    _check.function("make_net", make_net, expected)
    _check.train_function(train)
    is_sequence = isinstance(sizes, Iterable) and not isinstance(sizes, str | bytes | Mapping)
    if not is_sequence or getattr(sizes, "ndim", 1) == 0:
        raise TypeError(
            f"sizes must be a sequence, got {_check.describe(sizes)}. Try sizes=[(16, 1), (64, 2)]."
        )
    sizes = tuple(map(_as_size, sizes))
    if not sizes:
        raise ValueError("sizes must not be empty. Try sizes=[(16, 1), (64, 2)].")
    for size in sizes:
        _check.takes("make_net", make_net, expected, *_arguments(size))
    num_repeats = _check.repeats("num_repeats", num_repeats)
    _check.validation_value(monitor, mode)
    check_train(train)
    return SweepSizesStudy(
        make_net, train, sizes, num_repeats, monitor, mode, block=block, progress=progress
    )


def _as_size(size: Any) -> Any:
    """A size with numbers of Python, and as a tuple if it has several entries."""
    size = size.tolist() if isinstance(size, np.ndarray | np.generic | jax.Array) else size
    return tuple(size) if isinstance(size, list) else size


def _arguments(size: Any) -> tuple[Any, ...]:
    return size if isinstance(size, tuple) else (size,)


@dataclasses.dataclass(frozen=True, eq=False)
class SweepSizesStudy(MemberStudy):
    """The study returned by `sweep_sizes`. Call it; its settings are its fields."""

    SHARED = ("initial models", "data", "key", "valid")

    make_net: Callable[..., MLP]
    train: Fit
    sizes: tuple[Any, ...]
    num_repeats: int
    monitor: str
    mode: Literal["min", "max"]

    @property
    def num_members(self) -> int:
        return len(self.sizes) * self.num_repeats

    def __call__(self, data: PyTree, key: Key, valid: PyTree) -> SweepSizesResult:
        """Train networks of all sizes.

        Args:
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows for the validation scores.

        Returns:
            A SweepSizesResult.

        Raises:
            TypeError: if `make_net` does not return MLPs before `init`, or `key` is not a PRNG key.
            ValueError: if the networks differ in more than their hidden sizes, the data is unfit, the
                monitored value is not measured, or padding would change a number.
        """
        _check.concrete_key("sweep_sizes", key)
        check_concrete("data", data)
        check_concrete("valid", valid)
        num_parameters = sum((inner + 1) * outer for inner, outer in self._shape.shapes)
        _check.fits_in_memory(f"{self.num_members} initial models", 4 * num_parameters * self.num_members)
        starts = init_padded(self._nets, self._init_keys(key), self._shape)
        model = jax.tree.map(lambda a: a[0, 0], starts)
        rows, valid_rows = (
            to_rows(name, part, self.train.loss, model) for name, part in (("data", data), ("valid", valid))
        )
        self._check_padding(starts, rows)
        starts = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), starts)
        runs, scores = self._run_members(model, self.num_members, (starts, rows, key, valid_rows))
        shape = len(self.sizes), self.num_repeats
        arrays = {name: np.asarray(values).reshape(shape) for name, values in scores.items()}
        curve = Curve("capacity", self.sizes, arrays)
        return SweepSizesResult(curve, self.monitor, self.mode, self._nets, runs)

    @functools.cached_property
    def _nets(self) -> list[MLP]:
        nets = [self.make_net(*_arguments(size)) for size in self.sizes]
        check_nets(self.sizes, nets)
        return nets

    @functools.cached_property
    def _shape(self) -> PaddedMLP:
        return common_shape(self._nets)

    def _init_keys(self, key: Key) -> Key:
        """The key of each repeat's initial model, as `capacity_curve` has it, [repeats]."""

        def of_repeat(number: Array) -> Key:
            return _keys.fold_in_name(self._repeat_key(key, number), "init")

        return jax.vmap(of_repeat)(jnp.arange(self.num_repeats, dtype=jnp.int32))

    def _repeat_key(self, key: Key, number: Array) -> Key:
        return jax.random.fold_in(_keys.fold_in_name(key, "repeat"), number)

    @functools.cached_property
    def _safe_shapes(self) -> set[Any]:
        """The shapes of the rows with which padding has been checked."""
        return set()

    def _check_padding(self, starts: PaddedMLP, rows: Dataset) -> None:
        """Check that padding changes no number of the smallest network; a second call checks nothing."""
        leaves, tree = jax.tree.flatten(rows)
        shapes = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if shapes in self._safe_shapes:
            return
        steps = self.train.epochs * self.train._plan.steps_per_epoch(len(rows))
        optimizer = self.train._for_steps(steps).optimizer
        for example in check_examples(self._nets, starts):
            check_loss(self.train.loss, example, rows, jax.random.key(0))
            check_optimizer(optimizer, example)
        self._safe_shapes.add(shapes)

    def _member(
        self, static: None, shared: tuple[PaddedMLP, Dataset, Key, Dataset], number: Array
    ) -> tuple[Run, Scores]:
        starts, data, key, valid = shared
        model = jax.tree.map(lambda a: a[number], starts)
        own = self._repeat_key(key, number % self.num_repeats)
        run = self.train(model, data, _keys.fold_in_name(own, "train"), valid)
        scores = train_and_val_scores(self.train, run, data, valid)
        _check.monitored_metric(self.monitor, [name for name in scores if name.startswith("val_")], True)
        return run, scores

    def _combine(self, static: None, shared: Any, results: tuple[Run, Scores]) -> tuple[Run, Scores]:
        return results

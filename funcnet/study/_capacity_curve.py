"""The error against the capacity of a model: its width, depth or degree."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check, _keys, _mesh
from funcnet._module import Module
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset
from funcnet.study._curve import Curve, both_scores
from funcnet.study._members import Progress, check_blocks, each_member, is_small, start
from funcnet.train import Fit
from funcnet.train._evaluate import checked_data


def capacity_curve(
    make_train: Callable[[Any], tuple[Fit, Module]],
    capacities: Sequence[Any],
    size: int,
    *,
    block: int | None = None,
    progress: Progress | None = None,
) -> "CapacityCurveStudy":
    """Train models of several capacities on the same rows, `size` times each: `study(data, key, valid)`.

    A capacity changes the shapes, so each is a program of its own, compiled once; its repeats are that
    one program. Repeat i has the same keys for every capacity.

    Args:
        make_train: called with a capacity; returns a pair (training, network).
        capacities: what `make_train` is called with, one or more: widths, degrees, names.
        size: how often each is trained, each time from another start and in another order.
        block: trainings computed side by side; chosen when left out.
        progress: called on the host with how many more trainings are done, after each block.

    Returns:
        The study; its result is a `Curve` over "capacity".

    Raises:
        TypeError: if `make_train` is no function; later, if it returns no pair.
        ValueError: if there is no capacity, or `size` or `block` is below 1.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> data = fn.data.two_moons(60, seed=0).data
        >>> rows, valid = fn.data.split(data, (0.5, 0.5), jax.random.key(0))
        >>> loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(0.05), epochs=30, batch_size=30)
        >>> study = fn.study.capacity_curve(lambda width: (train, fn.MLP((2, width, "scalar"))), (1, 16), 4)
        >>> found = study(rows, jax.random.key(1), valid)
        >>> found.scores["val_accuracy"].shape, found.mean["loss"][1] < found.mean["loss"][0]
        ((2, 4), np.True_)

    Source: Belkin et al., "Reconciling modern machine-learning practice and the classical bias-variance
    trade-off", 2019.
    """
    _check.function("make_train", make_train, "a function of a capacity that returns (training, network)")
    if isinstance(capacities, str) or not isinstance(capacities, Iterable):
        raise TypeError(
            f"capacities are several; got {_check.describe(capacities)}. Try capacities=(2, 8, 32)."
        )
    capacities = tuple(capacities)
    if not capacities:
        raise ValueError("there are no capacities to compare. Try capacities=(2, 8, 32).")
    _check.positive("size", size)
    check_blocks(block, progress)
    return CapacityCurveStudy(make_train, capacities, size, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class CapacityCurveStudy:
    """The study that `capacity_curve` made. Call it; its settings are its fields."""

    make_train: Callable[[Any], tuple[Fit, Module]]
    capacities: tuple[Any, ...]
    size: int
    block: int | None
    progress: Progress | None

    def __call__(self, data: PyTree, key: Key, valid: PyTree) -> Curve:
        """Train models of all capacities.

        Args:
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: the rows to judge by.

        Returns:
            A Curve.

        Raises:
            TypeError: if `make_train` returns no training and network, or the key is none.
            ValueError: if the data is unfit.
        """
        _check.concrete_key("capacity_curve", key)
        found = []
        for train, net, run in self._programs:
            model = start(net, key)
            rows, held_out = (checked_data(train.loss, model, part) for part in (data, valid))
            found.append(run(net, rows, key, held_out, _mesh.num_devices()))
        scores = {name: np.stack([np.asarray(point[name]) for point in found]) for name in found[0]}
        return Curve("capacity", self.capacities, scores)

    @functools.cached_property
    def _programs(self) -> list[tuple[Fit, Module, Any]]:
        """Training, network and program of each capacity."""
        return [(train, net, self._program(train)) for train, net in map(self._made, self.capacities)]

    def _made(self, capacity: Any) -> tuple[Fit, Module]:
        made = self.make_train(capacity)
        if not (isinstance(made, tuple) and len(made) == 2):
            raise TypeError(
                f"make_train returns a pair (training, network); for {capacity!r} came {_check.describe(made)}. "
                "Try lambda width: (train, fn.MLP((4, width, 3)))."
            )
        _check.train_function(made[0])
        _check.architecture(made[1])
        return made

    def _program(self, train: Fit) -> Any:
        def one(shared: tuple[Module, Dataset, Key, Dataset], number: Array) -> dict[str, Array]:
            net, data, key, valid = shared
            own = jax.random.fold_in(_keys.named(key, "repeat"), number)
            run = train(start(net, _keys.named(own, "init")), data, _keys.named(own, "train"))
            return both_scores(train, run.model, data, valid)

        def run(net: Module, data: Dataset, key: Key, valid: Dataset, devices: int) -> dict[str, Array]:
            del devices  # a part of what is compiled: see `mesh.use`
            small = is_small(jax.eval_shape(start, net, key))
            shared = (net, data, key, valid)
            return each_member(one, shared, self.size, self.block, small, self.progress)

        return jax.jit(run, static_argnums=4)

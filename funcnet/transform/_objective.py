"""Where model, loss and batch meet. Sums and weights are carried, and divided once."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._metric import MetricSums, check_metric, finalize, promote_to_float32, weighted_sum
from funcnet._sow import EXAMPLES, one_of_batch
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.transform._reap import renewed


@_tree.node
class Totals:
    """Weighted sums over examples: Σ w·loss and Σ w·metric by name, and Σ w.

    The totals of two sets of examples add up to the totals of both, so no mean depends on how the
    examples were cut into batches.
    """

    sums: dict[str, Any]
    weight: Array

    def means(self) -> dict[str, Array]:
        """Σ w·value / Σ w by name, or what a `Metric` makes of its sums; NaN if no example counted."""
        return {name: finalize(total, self.weight) for name, total in self.sums.items()}

    def packed(self) -> Array:
        """All sums and the weight as one vector: a loop that adds it up has one small operation.

        XLA's CPU runtime hands work to a second thread where many operations are ready at once, and
        for a handful of scalars that costs half as much again as a whole small step.
        """
        parts = jax.tree.leaves(self)
        widest = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
        if all(part.ndim == 0 for part in parts):
            return jnp.stack([part.astype(widest) for part in parts])
        return jnp.concatenate([part.astype(widest).ravel() for part in parts])

    @staticmethod
    def unpacked(like: "Totals", vector: Array) -> "Totals":
        """What `packed` packed, of totals like these."""
        leaves, structure = jax.tree.flatten(like)
        parts, place = [], 0
        for leaf in leaves:
            size = math.prod(leaf.shape)
            parts.append(vector[place : place + size].reshape(leaf.shape))
            place += size
        return jax.tree.unflatten(structure, parts)


def objective(
    parameters: PyTree,
    rest: PyTree,
    loss: Loss,
    batch: Batch,
    key: Key | None,
    mass: Array | None = None,
    first: Array | int = 0,
) -> tuple[Array, Totals]:
    """The mean loss over a batch, to be differentiated, and the totals it comes from.

    Args:
        parameters, rest: the two parts of a model, as `_tree.partition` makes them.
        loss: of one example, or one marked by `losses.batchwise`.
        batch: examples and their weights.
        key: None for inference; else example i gets `fold_in(key, first + i)`.
        mass: what the sum is divided by, when the batch is a part of a larger one.
        first: the number of this batch's first example within the larger one.
    """
    model = _tree.combine(parameters, rest)
    weight = batch.weight
    if getattr(loss, "batchwise", False):
        counts = batch.total_weight > 0
        # A mean of no rows would be 0 / 0, and times 0 still NaN: there all rows count, and then none.
        weighted = jnp.where(counts, weight, jnp.ones_like(weight))
        means = _parts(loss(model, batch.example, weighted, key), ())  # type: ignore[call-arg]
        sums = jax.tree.map(
            lambda v: jnp.where(counts, v, jnp.zeros_like(v)),
            {name: _summed(v, batch.total_weight) for name, v in means.items()},
        )
    else:
        keys = None if key is None else _example_keys(key, first, weight.shape[0])
        axes = (None, 0, None if keys is None else 0, 0)
        per_example = jax.vmap(functools.partial(_one, loss), axes, axis_name=EXAMPLES)
        values = _parts(per_example(model, batch.example, keys, weight), weight.shape)
        sums = jax.tree.map(lambda v: weighted_sum(v, weight), values)
    found = Totals(sums, batch.total_weight)
    mass = found.weight if mass is None else mass
    total = sums["loss"]
    return total / jnp.where(mass > 0, mass, jnp.ones_like(mass)).astype(total.dtype), found


def renewing_objective(
    parameters: PyTree, rest: PyTree, *args: Any, **settings: Any
) -> tuple[Array, tuple[Totals, PyTree]]:
    """`objective` for a training step: with the totals comes `rest` as the step leaves it.

    It is the very same `rest` where no layer renews a buffer.
    """
    compute = functools.partial(objective, parameters)
    (value, totals), rest = renewed(lambda rest: compute(rest, *args, **settings), rest)
    return value, (totals, rest)


def _one(loss: Loss, model: PyTree, example: PyTree, key: Key | None, weight: Array) -> Any:
    with one_of_batch(weight):
        return loss(model, example, key)


def _summed(value: Any, mass: Array) -> Any:
    """The weighted sum that a batch's mean comes from; sums over the batch are that already."""
    return value if isinstance(value, MetricSums) else value * mass.astype(value.dtype)


def _example_keys(key: Key, first: Array | int, size: int) -> Key:
    numbers = first + jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)


def _parts(result: Any, batch: tuple[int, ...]) -> dict[str, Any]:
    """Loss and metrics by name, each check_metric to be one number for an example."""
    if isinstance(result, tuple) and len(result) != 2:
        raise TypeError(f"a loss returns a scalar, or a scalar and a dictionary; got {len(result)} values.")
    value, metrics = result if isinstance(result, tuple) else (result, {})
    if not isinstance(metrics, Mapping):
        raise TypeError(
            "a loss returns a scalar, or a scalar and a dictionary of metrics; in the dictionary's place "
            f"came {_check.describe(metrics)}."
        )
    _check.metric_names(metrics)
    _check.scalar("the loss", value, batch)
    for name, part in metrics.items():
        check_metric(name, part, batch)
    return {n: jax.tree.map(promote_to_float32, part) for n, part in {"loss": value, **metrics}.items()}

"""The mean loss of a model over a batch, from weighted sums that are divided once."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._metric import (
    MetricRows,
    MetricSums,
    check_metric,
    finalize,
    loss_and_metrics,
    named_values,
    promote_to_float32,
    weighted_sum,
)
from funcnet._module import needs_batch, restore
from funcnet._sow import BATCH_AXIS, in_batch, update_buffer_p
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.data._batches import FullBatch
from funcnet.transform._harvest import update_buffers
from funcnet.transform._jaxpr import as_function, contains


@_tree.node
class Totals:
    """Weighted sums over examples: Σ w·loss and Σ w·metric by name, and Σ w.

    The totals of two sets of examples add up to the totals of both, so no mean depends on how the
    examples were cut into batches. In an evaluation, the rows of a metric of all rows at once stand among
    the sums.
    """

    sums: dict[str, Any]
    weight: Array

    def means(self) -> dict[str, Array]:
        """Σ w·value / Σ w by name, or a `Metric` of its sums; NaN if the total weight is 0.

        A metric of several numbers has a name for each: `recall_0`.
        """
        values = {name: finalize(total, self.weight) for name, total in self.sums.items()}
        named = [named_values(name, value) for name, value in values.items()]
        if sum(map(len, named)) > len(merged := {k: v for one in named for k, v in one.items()}):
            raise ValueError(
                f"metrics must have different names, got {', '.join(n for d in named for n in d)}."
            )
        return merged

    def pack(self) -> Array:
        """All sums and the weight as one vector, so that a loop accumulates them with one operation.

        XLA's CPU runtime hands work to a second thread if many operations are ready at once; for a few
        scalars that costs half as much again as a whole small step.
        """
        parts = jax.tree.leaves(self)
        widest = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
        if all(part.ndim == 0 for part in parts):
            return jnp.stack([part.astype(widest) for part in parts])
        return jnp.concatenate([part.astype(widest).ravel() for part in parts])

    @staticmethod
    def zeros(like: "Totals") -> "RunningTotals":
        """The packed totals of no examples, for totals of the structure and shapes of `like`."""
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like).pack()
        return RunningTotals(jax.lax.complex(zero, zero))

    @staticmethod
    def unpack(like: "Totals", vector: Array) -> "Totals":
        """The inverse of `pack`, for totals of the structure and shapes of `like`."""
        leaves, structure = jax.tree.flatten(like)
        parts, start = [], 0
        for leaf in leaves:
            size = math.prod(leaf.shape)
            parts.append(vector[start : start + size].reshape(leaf.shape))
            start += size
        return jax.tree.unflatten(structure, parts)


@_tree.node
class RunningTotals:
    """The packed totals of any number of batches, with what float32 rounds away.

    A plain float32 sum of 10^6 equal losses is off by 1e-2. Here the error of each addition is part of the
    next term, so the sum of 10^7 is rounded as often as one number. The last term waits to be added: so a
    step uses its terms once, which lets XLA compute and add them in one operation.

    Source: Kahan, "Further remarks on reducing truncation errors", 1965; Knuth, "The art of computer
    programming" 2, 4.2.2, 1969.
    """

    sums: Array
    """[n], complex: the sums, and as imaginary parts the next terms. A step updates one array in place."""

    def add(self, terms: Array) -> "RunningTotals":
        """These totals and those of one more batch."""
        before, term = jnp.real(self.sums), jnp.imag(self.sums)
        total = before + term
        part = total - before
        error = (before - (total - part)) + (term - part)
        # A sum that overflows stays infinite: the error of infinity is NaN.
        error = jnp.where(jnp.isfinite(total), error, 0)
        return RunningTotals(jax.lax.complex(total, terms + error))

    def unpack(self, like: Totals) -> Totals:
        """The totals in the structure and the shapes of `like`."""
        return Totals.unpack(like, jnp.real(self.sums) + jnp.imag(self.sums))


def objective(
    parameters: PyTree,
    rest: PyTree,
    loss: Loss,
    batch: Batch,
    key: Key | None,
    total_weight: Array | None = None,
    first: Array | int = 0,
) -> tuple[Array, Totals]:
    """The mean loss over a batch, to be differentiated, and the totals that it is computed from.

    Args:
        parameters, rest: the two parts of a model, from `_tree.partition`.
        loss: of one example, or of a whole batch if marked by `losses.batchwise`.
        batch: examples and their weights. In training, a row of weight 0 makes the loss NaN for a network
            that needs its whole batch: it would enter the network's statistics.
        key: None for inference; else example i gets `fold_in(key, first + i)`.
        total_weight: divides the sum, if this batch is a part of a larger one; by default its own.
        first: the index of this batch's first example in the larger one.

    Returns:
        (mean loss, a scalar; totals).
    """
    model = restore(_tree.combine(parameters, rest), inference=key is None)
    weight = batch.weight
    if getattr(loss, "batchwise", False):
        counts = batch.total_weight > 0
        # A mean over no rows is 0 / 0, and 0 times that is NaN. So if all weights are zero, the loss gets
        # weights of 1, and its result is replaced by 0.
        weighted = jnp.where(counts, weight, jnp.ones_like(weight))
        with in_batch(weight), _check.key_or_none(key):
            means = _parts(loss(model, batch.example, weighted, key), ())  # type: ignore[call-arg]
        means, rows = _split_rows(means, weight, key)
        sums = jax.tree.map(
            lambda v: jnp.where(counts, v, jnp.zeros_like(v)),
            {name: _weighted_sum_of_mean(v, batch.total_weight) for name, v in means.items()},
        )
    else:
        keys = None if key is None else _example_keys(key, first, weight.shape[0])
        axes = (None, 0, None if keys is None else 0, 0)

        def one_example(model: PyTree, example: PyTree, key: Key | None, weight: Array) -> Any:
            with in_batch(weight), _check.key_or_none(key):
                return _check.results("the loss", loss(model, example, key))

        per_example = jax.vmap(one_example, axes, axis_name=BATCH_AXIS)
        try:
            values = _parts(per_example(model, batch.example, keys, weight), weight.shape)
        except (TypeError, ValueError, IndexError) as error:
            _check_one_example(loss, model, batch, key, error)
            raise
        values, rows = _split_rows(values, weight, key)
        sums = jax.tree.map(lambda v: weighted_sum(v, weight), values)
    if key is not None and not _is_full(batch) and needs_batch(model):
        padded = (batch.total_weight > 0) & jnp.any(weight == 0)
        sums["loss"] *= jnp.where(padded, jnp.nan, 1.0).astype(sums["loss"].dtype)
    totals = Totals({**sums, **rows}, batch.total_weight)
    divisor = totals.weight if total_weight is None else total_weight
    divisor = jnp.where(divisor > 0, divisor, jnp.ones_like(divisor))
    return sums["loss"] / divisor.astype(sums["loss"].dtype), totals


def _check_one_example(loss: Loss, model: PyTree, batch: Batch, key: Key | None, error: Exception) -> None:
    """Raise a TypeError if a loss that fails on one example works on a whole batch."""
    try:
        of_batch = jax.eval_shape(lambda model, batch: loss(model, batch, key), model, batch.example)
        is_loss = of_batch.shape == ()
    except Exception:  # it fails on both, or returns metrics, too: the first error says more
        return
    if is_loss:
        shapes = ", ".join(_tree.dtype_and_shape(leaf[0]) for leaf in jax.tree.leaves(batch.example))
        raise TypeError(
            f"the loss must take one example, here {shapes}, got one that works on a whole batch only. "
            "Write def loss(model, example, key): x, y = example; return (model(x) - y) ** 2, which is "
            "mapped over the batch; a loss that needs all rows at once is marked by fn.losses.batchwise. "
            f"Its error for one example: {error}"
        ) from error


def _is_full(batch: Batch) -> bool:
    """Whether all weights are known to be positive, as in `fit`, which cuts a short batch where needed."""
    return isinstance(batch, FullBatch) or getattr(batch, "known_total_weight", None) is not None


def objective_with_buffers(
    parameters: PyTree,
    rest: PyTree,
    loss: Loss,
    batch: Batch,
    key: Key | None,
    total_weight: Array | None = None,
    first: Array | int = 0,
) -> tuple[Array, tuple[Totals, PyTree]]:
    """`objective` for a training step: it also returns `rest` after the step.

    That is the same object if no layer updates a buffer.
    """
    of_rest = functools.partial(
        objective, parameters, loss=loss, batch=batch, key=key, total_weight=total_weight, first=first
    )
    if not jax.tree.leaves(rest):
        value, totals = of_rest(rest)
        return value, (totals, rest)
    program, structs = jax.make_jaxpr(of_rest, return_shape=True)(rest)
    if contains(program.jaxpr, update_buffer_p()):
        results, rest = update_buffers(program, rest)
        value, totals = jax.tree.unflatten(jax.tree.structure(structs), results)
    else:
        value, totals = as_function(program, structs)(rest)
    return value, (totals, rest)


def _split_rows(
    values: dict[str, Any], weight: Array, key: Key | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values that are summed, and the rows that evaluations keep; training, with a key, keeps none."""
    rows = {name: value for name, value in values.items() if isinstance(value, MetricRows)}
    for name, value in rows.items():
        leaves = jax.tree.leaves((value.predictions, value.targets))
        if any(jnp.shape(leaf)[:1] != weight.shape for leaf in leaves):
            raise ValueError(
                f"{name} is a metric of all rows: in a batchwise loss it must get predictions and targets "
                f"of the batch's {len(weight)} rows, got shapes {[jnp.shape(leaf) for leaf in leaves]}."
            )
    values = {name: value for name, value in values.items() if name not in rows}
    if key is not None:
        return values, {}
    return values, {name: dataclasses.replace(value, weight=weight) for name, value in rows.items()}


def _weighted_sum_of_mean(value: Any, total_weight: Array) -> Any:
    """The weighted sum of a batch's mean; a `MetricSums` is a sum already."""
    return value if isinstance(value, MetricSums) else value * total_weight.astype(value.dtype)


def _example_keys(key: Key, first: Array | int, size: int) -> Key:
    indices = first + jnp.arange(size, dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def _parts(result: Any, batch: tuple[int, ...]) -> dict[str, Any]:
    """Loss and metrics by name, each checked to be one number per example."""
    value, metrics = loss_and_metrics(result)
    _check.metric_names(metrics)
    _check.scalar("the loss", value, batch)
    for name, part in metrics.items():
        check_metric(name, part, batch)
    return {
        name: part if isinstance(part, MetricRows) else jax.tree.map(promote_to_float32, part)
        for name, part in {"loss": value, **metrics}.items()
    }

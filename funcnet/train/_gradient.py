"""The mean loss of a batch and its gradient: at once, in parts, or of each example."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _tree
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.data._batches import PaddedBatch
from funcnet.transform._objective import objective, objective_with_buffers


def gradient_function(parts: int, per_example: bool) -> Callable[..., Any]:
    """The function that returns a batch's mean loss and gradient.

    Args:
        parts: the number of equal parts of the batch, which are computed one after another.
        per_example: whether the gradient has a leading axis of examples.

    Returns:
        A function of parameters, rest, loss, batch and key, as `objective` takes them, which returns
        `((value, (totals, rest after the step)), gradient)`.
    """
    if per_example:
        return functools.partial(_differentiate_examples, parts=parts)
    return _differentiate if parts == 1 else functools.partial(_accumulate, parts=parts)


_differentiate = jax.value_and_grad(objective_with_buffers, has_aux=True)


def _accumulate(parameters: PyTree, rest: PyTree, loss: Loss, batch: Batch, key: Key, parts: int) -> Any:
    """What `_differentiate` returns for the whole batch, from its parts one after another.

    The batch's weight is known before anything is summed, so that each part contributes
    Σ w·loss / (weight of the whole) and the contributions add up.
    """
    size, left = divmod(batch.weight.shape[0], parts)
    if left:
        raise ValueError(
            f"accumulate={parts} must divide the rows of a batch, got {batch.weight.shape[0]} rows. Pad "
            "the batch with rows of weight 0, or choose another accumulate."
        )
    cut = jax.tree.map(
        lambda a: a.reshape(parts, size, *a.shape[1:]), PaddedBatch(batch.example, batch.weight)
    )
    total_weight = batch.total_weight
    of_part = functools.partial(_differentiate, parameters, loss=loss, key=key, total_weight=total_weight)

    def add_part(carry: tuple[Any, PyTree], x: tuple[Batch, Array]) -> tuple[tuple[Any, PyTree], None]:
        (sums, rest), (part, number) = carry, x
        (value, (totals, new_rest)), grads = of_part(rest=rest, batch=part, first=number * size)
        if new_rest is not rest:  # a part whose weights are all zero updates no buffer
            rest = _tree.select(part.total_weight > 0, new_rest, rest)
        return (_tree.add(sums, (value, totals, grads)), rest), None

    part = jax.tree.map(lambda a: a[0], cut)
    (value, (totals, _)), grads = jax.eval_shape(of_part, rest=rest, batch=part, first=jnp.int32(0))
    zeros = jax.tree.map(jnp.zeros_like, (value, totals, grads))
    numbers = jnp.arange(parts, dtype=jnp.int32)
    (sums, new_rest), _ = jax.lax.scan(add_part, (zeros, rest), (cut, numbers))
    value, totals, grads = sums
    return (value, (totals, new_rest)), grads


def _differentiate_examples(
    parameters: PyTree, rest: PyTree, loss: Loss, batch: Batch, key: Key, parts: int
) -> Any:
    """What `_differentiate` returns, with the gradient of each example, times its weight, [rows, ...]."""
    if parts > 1 or getattr(loss, "batchwise", False):
        raise ValueError(
            "an optimizer that aggregates per-example gradients, such as optax.contrib.dpsgd, needs a loss "
            "of one example and accumulate=1."
        )
    value, (totals, new_rest) = objective_with_buffers(parameters, rest, loss, batch, key)
    if new_rest is not rest:
        raise ValueError(
            "an optimizer that aggregates per-example gradients, such as optax.contrib.dpsgd, can't train "
            "a model whose layers see the whole batch, such as BatchNorm. Use fn.layers.GroupNorm or "
            "LayerNorm."
        )

    def gradient(example: PyTree, weight: Array, number: Array) -> PyTree:
        row = jax.tree.map(lambda a: a[None], PaddedBatch(example, weight))
        return jax.grad(lambda p: objective(p, rest, loss, row, key, jnp.ones(()), number)[0])(parameters)

    numbers = jnp.arange(batch.weight.shape[0], dtype=jnp.int32)
    return (value, (totals, rest)), jax.vmap(gradient)(batch.example, batch.weight, numbers)

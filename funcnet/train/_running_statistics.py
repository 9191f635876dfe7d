"""Running statistics of layers, such as those of BatchNorm, computed anew for other weights."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax

from funcnet import _keys, _tree
from funcnet._module import needs_batch, trainable
from funcnet._sow import update_buffer_p
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch
from funcnet.data._batches import PaddedBatch
from funcnet.transform._harvest import update_buffers
from funcnet.transform._jaxpr import contains
from funcnet.transform._objective import objective


def renew_statistics(loss: Loss, model: PyTree, batches: Iterator[PaddedBatch], key: Key) -> PyTree:
    """The model with running statistics that are means over `batches`, for its own weights.

    A model without such layers is returned as it is, and no batch after the first is read.

    Args:
        loss: of one example; it is computed in training mode, as in a step.
        model: the model, whose weights do not change.
        batches: the training data, in batches of the size of a step.
        key: of the dropout in the loss.

    Returns:
        The model: its statistics are those of each batch, averaged with the batches' weights. A network of
        another library updates its own, as in training.
    """
    parameters, rest = _tree.partition(model, trainable(model))
    if not jax.tree.leaves(rest):
        return model
    if needs_batch(model):
        batches = (batch.without_padding() for batch in batches)
    first = next(batches)
    program = jax.make_jaxpr(functools.partial(_value, loss, parameters))(rest, first, key)
    if not contains(program.jaxpr, update_buffer_p()):
        return model
    renew, total = jax.jit(functools.partial(_renew, loss)), jax.numpy.zeros(())
    for number, batch in enumerate(itertools.chain([first], batches)):
        total = total + batch.total_weight
        share = batch.total_weight / jax.numpy.where(total > 0, total, 1)
        rest = renew(parameters, rest, batch, jax.random.fold_in(key, number), share)
    return _tree.combine(parameters, rest)


def statistics_key(key: Key) -> Key:
    """The key of `renew_statistics` in a run with this key."""
    return _keys.fold_in_name(key, "statistics")


def _value(loss: Loss, parameters: PyTree, rest: PyTree, batch: Batch, key: Key) -> Array:
    return objective(parameters, rest, loss, batch, key)[0]


def _renew(loss: Loss, parameters: PyTree, rest: PyTree, batch: Batch, key: Key, share: Array) -> Any:
    of_rest = functools.partial(_value, loss, parameters, batch=batch, key=key)
    return update_buffers(jax.make_jaxpr(of_rest)(rest), rest, share)[1]

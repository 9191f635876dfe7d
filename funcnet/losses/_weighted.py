import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._metric import loss_and_metrics, promote_to_float32
from funcnet._types import Array, Loss, PyTree
from funcnet.losses._players import refuse_players

UNWEIGHTED = "unweighted_loss"


def weighted(loss: Loss, weight: Callable[[Any], Any]) -> Loss:
    """A loss times a weight of each example: mean(w·loss). Its metrics are not weighted.

    The history holds the weighted mean, `loss`, and the plain one, `unweighted_loss`, also for the
    validation data. The mean is over the examples, as in Keras, and not over Σw, as in PyTorch: so it does
    not depend on which rows share a batch. Weights of mean 1 keep the size of the loss and of its gradient.
    The row weights of a `Dataset` are different: they weight the metrics, too, and a row of weight 0 may
    have a loss that is not finite. Here its gradient would be NaN: replace such values in the example.

    Args:
        loss: of one example.
        weight: a function of the example that returns a weight of at least 0, such as
            `lambda example: jnp.where(example[1] == 1, 10.0, 1.0)`.

    Returns:
        A loss of one example.

    Raises:
        TypeError: if `loss` is not a loss or `weight` not a function of an example.
        ValueError: if the loss is of a whole batch or penalized; in training, before compilation, if a
            weight is negative or not finite; when called, if it is not a scalar.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> plain = fn.losses.supervised(fn.losses.squared_error)
        >>> loss = fn.losses.weighted(plain, lambda example: jnp.where(example[1] > 1, 10.0, 1.0))
        >>> x, y = jnp.zeros(2), jnp.array([1.0, 2.0])
        >>> {name: float(value) for name, value in fn.evaluate(loss, lambda x: x, (x, y)).items()}
        {'loss': 20.5, 'unweighted_loss': 2.5}
    """
    _check.loss(loss)
    _check.takes("weight", weight, "a function of one example", None)
    if getattr(loss, "batchwise", False):
        raise ValueError(
            "weighted expects a loss of one example, got one marked by losses.batchwise. Multiply inside "
            "it, by the weights of its rows."
        )
    refuse_players(loss, "weighted")
    if getattr(loss, "penalized", False):
        raise ValueError(
            "weighted would weight the penalty, too, once for each example. Write "
            "fn.losses.penalized(fn.losses.weighted(loss, weight), l2=1e-3)."
        )

    @functools.wraps(loss)
    def weighted_loss(model: Any, example: PyTree, key: Any) -> tuple[Array, dict[str, Any]]:
        value, metrics = loss_and_metrics(loss(model, example, key))
        _check.scalar("the loss", value)
        if UNWEIGHTED in metrics:
            raise ValueError(
                f"a loss can be weighted once: it has a metric named {UNWEIGHTED!r}. Multiply the weights."
            )
        return weight_loss(value, _weight_of(weight, example)), {**metrics, UNWEIGHTED: value}

    check = getattr(loss, "check", None)

    def check_weights(model: Any, examples: PyTree) -> None:
        if check is not None:
            check(model, examples)
        if not _tree.is_concrete(examples):
            return
        weights = np.asarray(jax.jit(jax.vmap(functools.partial(_weight_of, weight)))(examples))
        wrong = ~((weights >= 0) & (weights < np.inf))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"weight must be at least 0 and finite, got {weights[row]} for row {row}.")

    weighted_loss.check = check_weights  # type: ignore[attr-defined]
    return weighted_loss


def weight_loss(value: Any, weight: Array) -> Array:
    """The loss of one example times its weight; 0 for a weight of 0, and NaN for a negative one.

    Data in memory is checked before training; the rows of a stream or of `step` only here.
    """
    value = promote_to_float32(value)
    weight = jnp.where(weight >= 0, weight, jnp.nan).astype(value.dtype)
    counts = weight != 0
    return jnp.where(counts, jnp.where(counts, value, 0) * weight, 0)


def _weight_of(weight: Callable[[Any], Any], example: PyTree) -> Array:
    with _check.only_jax(
        "weight", "make an array of the weights, and pass it as fn.data.Dataset(..., weight=w)"
    ):
        value = weight(example)
    _check.scalar("weight", value)
    return promote_to_float32(value)

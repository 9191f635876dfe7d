import functools
from collections.abc import Callable
from typing import Any

from funcnet import _check
from funcnet._types import Loss


def batchwise(loss: Callable[..., Any]) -> Loss:
    """Mark a function as a loss of a whole batch: `loss(model, batch, weight, key)`.

    Args:
        loss: returns the weighted **mean** over the batch, and those of metrics if it has any. `batch` is
            an example with a leading axis, and `weight` [batch] is zero for padded rows. Means over batches
            weight each batch by its total weight. `accumulate` can't split a batch for such a loss.

    Returns:
        The same function, marked.

    Raises:
        TypeError: if `loss` is not a function.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> @fn.losses.batchwise
        ... def variance(model, batch, weight, key):
        ...     x, _ = batch
        ...     return jnp.var(model(x), where=weight > 0)
        >>> variance.batchwise
        True
    """
    _check.function("loss", loss, "a function (model, batch, weight, key) -> scalar")

    @functools.wraps(loss)
    def batchwise_loss(*args: Any) -> Any:
        return loss(*args)

    batchwise_loss.batchwise = True  # type: ignore[attr-defined]
    return batchwise_loss

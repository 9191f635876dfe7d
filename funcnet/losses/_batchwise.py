import functools
from collections.abc import Callable
from typing import Any

from funcnet import _check
from funcnet._types import Loss


def batchwise(loss: Callable[..., Any]) -> Loss:
    """Mark a loss that needs the whole batch: `loss(model, batch, weight, key)`.

    Args:
        loss: returns the batch's weighted **mean** (and metrics, likewise); `batch` is the example
            with a leading axis, `weight` [batch] is zero for padded rows. Means over batches count
            each batch by its weight, and `accumulate` can't split it.

    Returns:
        The same function, marked.

    Raises:
        TypeError: if `loss` is no function.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> @fn.losses.batchwise
        ... def spread(model, batch, weight, key):
        ...     x, _ = batch
        ...     return jnp.var(model(x), where=weight > 0)
        >>> spread.batchwise
        True
    """
    _check.function("loss", loss, "a function (model, batch, weight, key) -> scalar")

    @functools.wraps(loss)
    def marked(*args: Any) -> Any:
        return loss(*args)

    marked.batchwise = True  # type: ignore[attr-defined]
    return marked

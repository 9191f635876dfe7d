import functools
import inspect
from collections.abc import Callable
from typing import Any

from funcnet import _check
from funcnet._types import Loss


def batchwise(loss: Callable[..., Any]) -> Loss:
    """Mark a function as a loss of a whole batch: `loss(model, batch, weight, key)`.

    Args:
        loss: returns the weighted **mean** over the batch, and those of metrics if it has any. `batch` is
            an example with a leading axis, and `weight` [batch] is zero for padded rows. Means over batches
            weight each batch by its total weight. `accumulate` can't split a batch for such a loss. A model
            with `BatchNorm` is called on all rows at once: `model(x, key=key)`, without `jax.vmap`.

    Returns:
        The same function, marked.

    Raises:
        TypeError: if `loss` is not a function of four arguments.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> @fn.losses.batchwise
        ... def variance(model, batch, weight, key):
        ...     x, _ = batch
        ...     return jnp.var(model(x), where=weight > 0)
        >>> variance.batchwise
        True
    """
    expected = "a function (model, batch, weight, key) -> scalar"
    _check.function("loss", loss, expected)
    try:
        inspect.signature(loss).bind(None, None, None, None)
    except ValueError:
        pass  # some builtins have no signature
    except TypeError:
        raise TypeError(
            f"loss must be {expected}, got {getattr(loss, '__name__', loss)!r}, which takes other "
            "arguments. A loss of one example is not marked."
        ) from None

    @functools.wraps(loss)
    def batchwise_loss(*args: Any) -> Any:
        return loss(*args)

    batchwise_loss.batchwise = True  # type: ignore[attr-defined]
    return batchwise_loss

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._metric import at_least_single
from funcnet._module import trainable
from funcnet._types import Array, ArrayLike, Loss, PyTree

NOT_PENALIZED = ("bias", "b", "scale")


def penalized(
    loss: Loss,
    l1: ArrayLike = 0.0,
    l2: ArrayLike = 0.0,
    where: Callable[[str, Array], bool] | PyTree = None,
) -> Loss:
    """A loss plus a penalty on the parameters: loss + l1·Σ|w| + l2·Σw².

    The history holds the sum, `loss`, and both parts, `data_loss` and `penalty`, with their twins for
    validation rows. A penalised loss can be penalised again, elsewhere and otherwise: penalties add up.
    `optax.adamw` is something else: its decay is no part of the loss and isn't scaled by Adam.

    Args:
        loss: of one example, or one marked by `batchwise`.
        l1: the weight of Σ|w|, at least 0. It may be traced, so a sweep compiles once.
        l2: the weight of Σw² (not halved, as in Keras), likewise.
        where: which parameters count: a function of path and leaf, such as
            `lambda path, leaf: path.endswith("weight")`; or a tree of booleans like
            `fn.trainable(model)`. By default all but biases and the scales of norms: all whose last
            name is none of bias, b and scale. `lambda path, leaf: True` is all. Buffers never count.

    Returns:
        A loss of the same kind.

    Raises:
        TypeError: if `loss` is no loss.
        ValueError: if l1 or l2 is negative; later, if no parameter counts, the mask has another
            structure than the model, or the loss has metrics called data_loss or penalty.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> plain = fn.losses.supervised(fn.losses.squared_error)
        >>> loss = fn.losses.penalized(plain, l2=0.1)
        >>> line = fn.Linear(1, "scalar", weight=jnp.array([3.0]), bias=jnp.array(5.0))
        >>> found = fn.evaluate(loss, line, (jnp.ones((4, 1)), jnp.array([8.0, 8.0, 8.0, 10.0])))
        >>> {name: round(float(value), 4) for name, value in found.items()}
        {'data_loss': 1.0, 'loss': 1.9, 'penalty': 0.9}

    Source: Hoerl, Kennard, "Ridge regression", 1970; Tibshirani, "Regression shrinkage and selection via
    the lasso", 1996.
    """
    _check.loss(loss)
    for name, strength in {"l1": l1, "l2": l2}.items():
        _check.setting(name, strength, 0, float("inf"), low_included=True)

    @functools.wraps(loss)  # what is marked on the loss, such as its check of targets, holds here too
    def with_penalty(model: Any, *rest: Any) -> tuple[Array, dict[str, Any]]:
        result = loss(model, *rest)
        value, metrics = result if isinstance(result, tuple) else (result, {})
        # The model is the same for all examples, so under vmap this is computed once for a batch.
        penalty = _penalty(_chosen(model, where), l1, l2)
        parts = {"data_loss": value, "penalty": penalty}
        if getattr(loss, "penalized", False):
            parts = {"data_loss": metrics["data_loss"], "penalty": metrics["penalty"] + penalty}
        elif taken := parts.keys() & metrics.keys():
            raise ValueError(f"a penalised loss logs {sorted(taken)[0]!r} itself. Rename that metric.")
        value = at_least_single(value)
        return value + penalty.astype(value.dtype), {**metrics, **parts}

    with_penalty.penalized = True  # type: ignore[attr-defined]
    return with_penalty


def _penalty(leaves: list[Array], l1: ArrayLike, l2: ArrayLike) -> Array:
    total = jnp.zeros(())
    for power, strength in {1: l1, 2: l2}.items():
        if isinstance(strength, int | float) and strength == 0:
            continue
        sizes = [jnp.sum(jnp.abs(w) if power == 1 else w**2) for w in map(at_least_single, leaves)]
        total += jnp.asarray(strength, total.dtype) * sum(s.astype(total.dtype) for s in sizes)
    return total


def _chosen(model: PyTree, where: Any) -> list[Array]:
    """The parameters that are penalised."""
    parameters, _ = _tree.partition(model, trainable(model))
    by_path = _tree.paths(parameters)
    if where is None:
        kept = [leaf for path, leaf in by_path.items() if _last_name(path) not in NOT_PENALIZED]
    elif all(isinstance(leaf, bool | np.bool_) for leaf in jax.tree.leaves(where)):
        kept = _masked(model, where)
    else:
        kept = [leaf for path, leaf in by_path.items() if where(path, leaf)]
    if not kept:
        raise ValueError(
            "a penalty wants at least one parameter, and where chooses none of "
            f"{', '.join(list(by_path)[:20]) or 'those of a model without any'}."
        )
    return kept


def _masked(model: PyTree, mask: PyTree) -> list[Array]:
    structures: tuple[Any, Any] = jax.tree.structure(mask), jax.tree.structure(model)
    if structures[0] != structures[1]:
        raise ValueError(
            "where is a tree of booleans of the model's structure; got "
            f"{_check.describe(mask)}. Begin with fn.trainable(model), or write a function (path, leaf)."
        )
    both = jax.tree.map(lambda parameter, chosen: parameter and chosen, trainable(model), mask)
    return jax.tree.leaves(_tree.partition(model, both)[0])


def _last_name(path: str) -> str:
    """`layers[0].bias` and `['layer']['bias']` end in bias."""
    return (re.findall(r"\w+", path) or [""])[-1]

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._metric import loss_and_metrics, promote_to_float32
from funcnet._module import Paths, is_parameter, select
from funcnet._types import Array, ArrayLike, Loss, PyTree
from funcnet.losses._players import refuse_players

NOT_PENALIZED = ("bias", "b", "scale")


def penalized(
    loss: Loss,
    l1: ArrayLike = 0.0,
    l2: ArrayLike = 0.0,
    where: Paths | PyTree = None,
) -> Loss:
    """A loss plus a penalty on the parameters: loss + l1·Σ|w| + l2·Σw².

    The history holds the sum, `loss`, and both terms, `data_loss` and `penalty`, also for the validation
    data. A penalized loss can be penalized again, with other parameters or strengths: penalties add up.
    `optax.adamw` is different: its weight decay is not part of the loss and is not scaled by Adam.

    Args:
        loss: of one example, or one marked by `batchwise`.
        l1: the strength of Σ|w|, at least 0. It may be traced, so a sweep compiles once.
        l2: the strength of Σw² (not halved, as in Keras), at least 0. It may be traced.
        where: which parameters are penalized: paths as for `fn.freeze`, such as "layers[0]"; a function of
            path and leaf, such as `lambda path, leaf: path.endswith("weight")`; or a tree of booleans like
            `fn.trainable(model)`. By default all except biases and the scales of normalization layers:
            those whose path ends in bias, b or scale. `lambda path, leaf: True` selects all. Frozen
            parameters count, so that freezing does not change the loss; Buffers are never penalized.

    Returns:
        A loss of the same kind.

    Raises:
        TypeError: if `loss` is not a loss, l1 or l2 not a number, or `where` neither of the two.
        ValueError: if l1 or l2 is negative; when called, if no parameter is selected, the structure of the
            mask differs from the model's, or the loss has metrics named data_loss or penalty.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> plain = fn.losses.supervised(fn.losses.squared_error)
        >>> loss = fn.losses.penalized(plain, l2=0.1)
        >>> line = fn.Linear(1, "scalar", weight=jnp.array([3.0]), bias=jnp.array(5.0))
        >>> metrics = fn.evaluate(loss, line, (jnp.ones((4, 1)), jnp.array([8.0, 8.0, 8.0, 10.0])))
        >>> {name: round(float(value), 4) for name, value in metrics.items()}
        {'data_loss': 1.0, 'loss': 1.9, 'penalty': 0.9}

    Source: Hoerl, Kennard, "Ridge regression", 1970; Tibshirani, "Regression shrinkage and selection via
    the lasso", 1996.
    """
    _check.loss(loss)
    refuse_players(loss, "penalized")
    for name, strength in {"l1": l1, "l2": l2}.items():
        _check.setting(name, strength, 0, float("inf"), low_included=True)
        if np.ndim(strength):
            raise ValueError(f"{name} must be one number, got shape {np.shape(strength)}.")
    if callable(where):
        _check.takes("where", where, "a function (path, leaf) -> bool", "weight", None)
    elif not (where is None or _is_paths(where) or _is_mask(where)):
        raise TypeError(
            "where must be a path such as 'layers[0]', a list of them, a function (path, leaf) -> bool, or "
            f"a tree of booleans like fn.trainable(model), got {_check.describe(where)}."
        )

    @functools.wraps(loss)  # keeps attributes of the loss, such as its check of targets
    def penalized_loss(model: Any, *rest: Any) -> tuple[Array, dict[str, Any]]:
        result = loss(model, *rest)
        value, metrics = loss_and_metrics(result)
        _check.scalar("the loss", value)
        # The model has no batch axis, so under vmap this is computed once for a batch.
        penalty = _penalty(_penalized_parameters(model, where), l1, l2)
        terms = {"data_loss": value, "penalty": penalty}
        if getattr(loss, "penalized", False):
            terms = {"data_loss": metrics["data_loss"], "penalty": metrics["penalty"] + penalty}
        elif taken := terms.keys() & metrics.keys():
            raise ValueError(
                f"the metrics of a penalized loss must not be named 'data_loss' or 'penalty', got "
                f"{sorted(taken)[0]!r}. Rename it."
            )
        value = promote_to_float32(value)
        return value + penalty.astype(value.dtype), {**metrics, **terms}

    penalized_loss.penalized = True  # type: ignore[attr-defined]
    return penalized_loss


def _penalty(leaves: list[Array], l1: ArrayLike, l2: ArrayLike) -> Array:
    total = jnp.zeros(())
    for power, strength in {1: l1, 2: l2}.items():
        if isinstance(strength, int | float) and strength == 0:
            continue
        norms = [jnp.sum(jnp.abs(w) if power == 1 else w**2) for w in map(promote_to_float32, leaves)]
        total += jnp.asarray(strength, total.dtype) * sum(norm.astype(total.dtype) for norm in norms)
    return total


def _penalized_parameters(model: PyTree, where: Any) -> list[Array]:
    floating = jax.tree.map(lambda own, leaf: own and _check.is_floating(leaf), is_parameter(model), model)
    parameters, _ = _tree.partition(model, floating)
    by_path = _tree.paths(parameters)
    if where is None:
        leaves = [leaf for path, leaf in by_path.items() if _last_name(path) not in NOT_PENALIZED]
    elif not callable(where) and _is_mask(where):
        leaves = _masked_parameters(model, where)
    else:
        return [by_path[path] for path in sorted(select("where", by_path, _tree.names(parameters), where))]
    if not leaves:
        raise ValueError(
            "where must select at least one parameter, got none of "
            f"{', '.join(list(by_path)[:20]) or 'those of a model without parameters'}. "
            "For all: where=lambda path, leaf: True."
        )
    return leaves


def _is_paths(where: Any) -> bool:
    return isinstance(where, str) or (
        isinstance(where, list | tuple) and bool(where) and all(isinstance(path, str) for path in where)
    )


def _is_mask(tree: PyTree) -> bool:
    leaves = jax.tree.leaves(tree)
    return bool(leaves) and all(isinstance(leaf, bool | np.bool_) for leaf in leaves)


def _masked_parameters(model: PyTree, mask: PyTree) -> list[Array]:
    mask_structure: Any = jax.tree.structure(mask)
    if mask_structure != jax.tree.structure(model):
        raise ValueError(
            "where must be a tree of booleans with the model's structure, got "
            f"{_check.describe(mask)}. Start from fn.trainable(model), or pass a function (path, leaf)."
        )
    both = jax.tree.map(lambda own, selected: own and selected, is_parameter(model), mask)
    return jax.tree.leaves(_tree.partition(model, both)[0])


def _last_name(path: str) -> str:
    """The last name in a path: `bias` for `layers[0].bias` and for `['layer']['bias']`."""
    return (re.findall(r"\w+", path) or [""])[-1]

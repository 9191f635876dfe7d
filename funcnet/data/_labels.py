"""One-hot labels, and row weights that balance classes."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from funcnet import _check
from funcnet._compare import as_class_numbers
from funcnet._types import Array, ArrayLike, Float


@_check.usage("fn.data.one_hot(labels, 3)")
def one_hot(labels: ArrayLike, classes: int) -> Float[Array, "*shape classes"]:
    """A row of zeros with a one at the label: `jax.nn.one_hot` with a check of the labels.

    `losses.cross_entropy` takes class numbers directly; this is for losses of one-hot rows.

    Args:
        labels: class numbers, integers in 0 .. classes-1, any shape.
        classes: the number of classes, at least 1.

    Returns:
        Floats of the labels' shape with a last axis [classes].

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if a label is not in 0 .. classes-1; inside jit, where it can't be checked, it gives a
            row of zeros.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.data.one_hot(jnp.array([2, 0]), 3).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    classes = _check.positive("classes", classes)
    labels = _check.array("labels", labels)
    _check.fits_in_memory(f"{labels.size} labels of classes={classes}", 4 * labels.size * int(classes))
    _check.class_numbers(labels, classes)
    return jax.nn.one_hot(as_class_numbers(labels), classes, dtype=float)


def class_weights(
    labels: Any, weights: Literal["balanced"] | Mapping[Any, float] = "balanced"
) -> np.ndarray:
    """Row weights by class, for `Dataset(arrays, weight=...)`; "balanced" gives classes equal total weight.

    A row of class c gets n / (k·n_c) for n rows, k classes and n_c rows of class c, so that the
    weights add up to n.

    Args:
        labels: the class of each row, numbers or text [n].
        weights: "balanced", or a weight for each class by its label, 1 for classes not named.

    Returns:
        Weights [n], float32.

    Raises:
        TypeError: if `weights` is neither, or labels are not all numbers or all text.
        ValueError: if there is no label, one is missing, `weights` names a class that no row has, or a
            weight is negative.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> x, y = jnp.arange(4.0), jnp.array([0, 0, 0, 1])
        >>> data = fn.data.Dataset((x, y), weight=fn.data.class_weights(y))
        >>> [round(float(w), 3) for w in data.weights()]
        [0.667, 0.667, 0.667, 2.0]
        >>> fn.data.class_weights(["cat", "dog"], {"dog": 3}).tolist()
        [1.0, 3.0]

    Source: King, Zeng, "Logistic regression in rare events data", 2001.
    """
    values = _check.labels("labels", labels)
    classes, number, count = np.unique(values, return_inverse=True, return_counts=True)
    if isinstance(weights, str) and weights == "balanced":
        class_weight = len(values) / (len(classes) * count)
    elif isinstance(weights, Mapping):
        if unknown := [label for label in weights if label not in classes.tolist()]:
            raise ValueError(
                f"weights must name labels of the rows, {', '.join(map(repr, classes.tolist()[:20]))}, "
                f"got {unknown[0]!r}."
            )
        for label, weight in weights.items():
            _check.between(f"weights[{label!r}]", weight, 0.0, float("inf"))
        class_weight = np.array([float(weights.get(label, 1.0)) for label in classes.tolist()])
        _check.fits_float32("weights", class_weight)
        _check.weights_in_range(class_weight)
    else:
        raise TypeError(
            f'weights must be "balanced" or a dictionary by label, got {_check.describe(weights)}.'
        )
    return class_weight[number].astype(np.float32)

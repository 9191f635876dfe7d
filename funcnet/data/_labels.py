"""Labels as rows of zeros and ones, and the weights that make classes count alike."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from funcnet import _check
from funcnet._compare import class_numbers
from funcnet._types import Array, ArrayLike, Float


def one_hot(labels: ArrayLike, classes: int) -> Float[Array, "*shape classes"]:
    """A row of zeros with a one at the label: `jax.nn.one_hot`, which gives no one for a wrong label.

    `losses.cross_entropy` takes class numbers as they are; this is for losses that want rows.

    Args:
        labels: class numbers, integers in 0 .. classes-1, any shape.
        classes: how many there are, at least 1.

    Returns:
        Floats of the labels' shape with an axis [classes] behind.

    Raises:
        TypeError: if the labels are no integers.
        ValueError: if a label lies outside 0 .. classes-1 (where it can be read: not inside jit,
            where such a label gives a row of zeros).

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.data.one_hot(jnp.array([2, 0]), 3).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    _check.positive("classes", classes)
    _check.class_numbers(labels, classes)
    return jax.nn.one_hot(class_numbers(labels), classes, dtype=float)


def class_weights(
    labels: Any, weights: Literal["balanced"] | Mapping[Any, float] = "balanced"
) -> np.ndarray:
    """Row weights by class, for `Dataset(arrays, weight=...)`: "balanced" makes all classes count alike.

    A row of class c gets n / (k·n_c) for n rows, k classes and n_c rows of class c, so that the
    weights add up to n.

    Args:
        labels: the class of each row, numbers or text [n].
        weights: "balanced", or a weight for each class by its label; a class not named gets 1.

    Returns:
        Weights [n], float32.

    Raises:
        TypeError: if `weights` is neither.
        ValueError: if there is no label, or `weights` names a class that no row has.

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
    values = np.asarray(labels)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"labels are one for each row, [n]; got shape {values.shape}.")
    classes, number, count = np.unique(values, return_inverse=True, return_counts=True)
    if weights == "balanced":
        each = len(values) / (len(classes) * count)
    elif isinstance(weights, Mapping):
        if unknown := [label for label in weights if label not in classes.tolist()]:
            raise ValueError(
                f"weights names {unknown[0]!r}, and no row has that label. Labels: "
                f"{', '.join(map(repr, classes.tolist()[:20]))}."
            )
        for label, weight in weights.items():
            _check.between(f"weights[{label!r}]", weight, 0.0, float("inf"))
        each = np.array([weights.get(label, 1.0) for label in classes.tolist()])
    else:
        raise TypeError(
            f'weights is "balanced" or a dictionary of weights by label; got {_check.describe(weights)}.'
        )
    return each[number].astype(np.float32)

"""Splitting a dataset into parts, shuffled and, if asked, stratified."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys
from funcnet._types import ArrayLike, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.data._shuffle import Shuffle


def split(
    data: PyTree,
    sizes: Sequence[float],
    key: Key | None,
    *,
    stratify: ArrayLike | None = None,
) -> tuple[Dataset, ...]:
    """Parts of a dataset: each row in one part, shuffled by `key`.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        sizes: the parts, as fractions that add up to 1 or as numbers of rows that add up to n.
        key: decides who goes where; None cuts the rows in the order they have.
        stratify: labels [n]; every part gets each label in the proportion of the whole, within one
            row for each label.

    Returns:
        One Dataset for each size, with copies of its rows.

    Raises:
        TypeError: if `key` is neither None nor a typed key.
        ValueError: if the sizes add up to something else, a part would be empty, or there are not n
            labels, or `stratify` comes without a key.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> x, y = jnp.arange(10.0), jnp.array([0] * 8 + [1] * 2)
        >>> train, test = fn.data.split((x, y), (0.5, 0.5), jax.random.key(0), stratify=y)
        >>> len(train), int(test[:][1].sum())
        (5, 1)
    """
    data = as_dataset(data)
    n = len(data)
    counts = _counts(sizes, n)
    if key is None:
        if stratify is not None:
            raise ValueError("stratify needs a key: split(data, sizes, jax.random.key(0), stratify=y).")
        order = np.arange(n)
    else:
        _check.key(key)
        order = np.asarray(Shuffle.draw(_keys.named(key, "split"), n)(jnp.arange(n)))
        if stratify is not None:
            order = order[_interleaved(_labels(stratify, n)[order])]
    ends = np.cumsum(counts)
    parts = np.split(order, ends[:-1])
    return tuple(_copied(data, np.sort(p) if key is None else p) for p in parts)


def _copied(data: Dataset, positions: np.ndarray) -> Dataset:
    return Dataset(data[positions], None if data.weight is None else data.weights()[positions])


def _counts(sizes: Sequence[float], n: int) -> np.ndarray:
    parts = np.asarray(sizes, float)
    if parts.ndim != 1 or parts.size == 0 or (parts <= 0).any():
        raise ValueError(f"sizes are positive numbers, one for each part; got {sizes}.")
    if parts.sum() == n and (parts == parts.round()).all():
        return parts.astype(int)
    if not np.isclose(parts.sum(), 1):
        raise ValueError(
            f"sizes are fractions that add up to 1 or rows that add up to {n}; {tuple(sizes)} adds "
            f"up to {parts.sum():g}. Try (0.6, 0.2, 0.2)."
        )
    counts = np.diff(np.concatenate([[0], np.floor(np.cumsum(parts) * n + 0.5).astype(int)]))
    if (counts == 0).any():
        raise ValueError(f"{n} rows are too few for parts of {tuple(sizes)}: one would be empty.")
    return counts


def _labels(stratify: ArrayLike, n: int) -> np.ndarray:
    labels = np.asarray(stratify)
    if labels.shape != (n,):
        raise ValueError(f"stratify holds one label for each of the {n} rows; got {labels.shape}.")
    return labels


def _interleaved(labels: np.ndarray) -> np.ndarray:
    """An order in which every label is spread evenly, so that any cut is proportional."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        (at,) = np.nonzero(labels == label)
        place[at] = (np.arange(len(at)) + 0.5) / len(at)
    return np.argsort(place, kind="stable")

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
            row for each label, however many and rare they are.

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
        _check.concrete_key("split", key)
        order = np.asarray(Shuffle.draw(_keys.named(key, "split"), n)(jnp.arange(n)))
        if stratify is not None:
            order = order[_stratified(_labels(stratify, n)[order], counts)]
    parts = np.split(order, np.cumsum(counts)[:-1])
    return tuple(_copied(data, np.sort(p) if key is None else p) for p in parts)


def _copied(data: Dataset, positions: np.ndarray) -> Dataset:
    return Dataset(data[positions], weight=None if data.weight is None else data.weights()[positions])


def _counts(sizes: Sequence[float], n: int) -> np.ndarray:
    parts = np.asarray(sizes, float)
    if parts.ndim != 1 or parts.size == 0 or (parts <= 0).any():
        raise ValueError(f"sizes are positive numbers, one for each part; got {sizes}.")
    if parts.sum() == n and (parts == parts.round()).all():
        return parts.astype(int)
    if parts.sum() == n:
        raise ValueError(f"numbers of rows are whole; got {tuple(sizes)}.")
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


def _stratified(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """An order of rows in which the parts, cut off one after another, hold each label in proportion."""
    _, label, total = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(label), int)  # of a row among those of its label
    rank[np.argsort(label, kind="stable")] = np.concatenate([np.arange(n) for n in total])
    spread = np.argsort((rank + 0.5) / total[label], kind="stable")  # every label spread evenly
    part = np.repeat(np.arange(len(counts)), counts)
    held = np.zeros((len(total), len(counts)), int)
    np.add.at(held, (label[spread], part), 1)
    if (np.abs(held * len(label) - np.outer(total, counts)) <= len(label)).all():
        return spread
    # Where many labels are rare, their rows stand at the same places and crowd out the others.
    by_key = np.argsort(np.unique(label, return_index=True)[1])
    held[by_key] = _allotted(total[by_key], counts)
    part = np.sum(rank[spread, None] >= np.cumsum(held, axis=1)[label[spread]], axis=1)
    return spread[np.argsort(part, kind="stable")]


def _allotted(total: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How many rows of each label each part gets, [labels, parts]: its share, rounded down or one more.

    Each label hands the rows that rounding left to the parts that lack most, one each. That always
    comes out: it is how a 0/1 matrix of given row and column sums is built, and the shares' fractions
    show that there is one.

    Source: Gale, "A theorem on flows in networks", 1957.
    """
    share = np.outer(total, counts)
    held, fraction = np.divmod(share, counts.sum())
    lacking = counts - held.sum(0)
    for label in range(len(total)):
        left = total[label] - held[label].sum()
        parts = np.lexsort((-fraction[label], -lacking))[:left]
        held[label, parts] += 1
        lacking[parts] -= 1
    return held

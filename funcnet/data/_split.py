"""Split a dataset into parts, shuffled and optionally stratified."""

from collections.abc import Sequence

import jax
import numpy as np

from funcnet import _check, _keys, _parts, _tree
from funcnet._types import ArrayLike, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.data._dataset import take as take_rows
from funcnet.data._shuffle import Shuffle


@_check.usage("train, test = fn.data.split((x, y), (0.8, 0.2), key)")
def split(
    data: PyTree,
    sizes: Sequence[float],
    key: Key | None,
    *,
    stratify: ArrayLike | None = None,
) -> tuple[Dataset, ...]:
    """Split a dataset into parts: each row goes to one part, shuffled by `key`.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        sizes: the parts, as fractions that add up to 1 or as numbers of rows that add up to n.
        key: determines the part of each row; None splits the rows in their order.
        stratify: labels [n]; in every part each label has the same proportion as in `data`, up to one row
            for each label, even if there are many rare labels.

    Returns:
        One Dataset for each size, with copies of its rows; of rows of several processes, a view of them.

    Raises:
        TypeError: if `key` is neither None nor a typed key.
        ValueError: if the sizes don't add up to 1 or n, a part would be empty, there are not n labels, or
            `stratify` is given without a key.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> x, y = jnp.arange(10.0), jnp.array([0] * 8 + [1] * 2)
        >>> train, test = fn.data.split((x, y), (0.5, 0.5), jax.random.key(0), stratify=y)
        >>> len(train), int(test[:][1].sum())
        (5, 1)
    """
    data = as_dataset(data)
    parts = split_rows(len(data), sizes, key, stratify)
    return tuple(_copy_rows(data, part) for part in parts)


def split_rows(
    n: int, sizes: Sequence[float], key: Key | None, stratify: ArrayLike | None = None
) -> list[np.ndarray]:
    """The positions of the rows of each part, as `split` draws them."""
    counts = _part_sizes(sizes, n)
    labels = None if stratify is None else _check.labels("stratify", stratify, n)
    if key is None:
        if labels is not None:
            raise ValueError("stratify needs a key: split(data, sizes, jax.random.key(0), stratify=y).")
        order = np.arange(n)
    else:
        _check.concrete_key("split", key)
        order = order_of_rows(key, "split", n)
    return _divide(order, counts, labels)


def divide(order: np.ndarray, sizes: Sequence[float], labels: np.ndarray | None) -> list[np.ndarray]:
    """Parts of row numbers that are in random order, as `split` divides them."""
    return _divide(order, _part_sizes(sizes, len(order)), labels)


def _divide(order: np.ndarray, counts: np.ndarray, labels: np.ndarray | None) -> list[np.ndarray]:
    if labels is not None:
        order = order[_stratified_order(labels[order], counts)]
    return np.split(order, np.cumsum(counts)[:-1])


def order_of_rows(key: Key, name: str, n: int) -> np.ndarray:
    """A random order of n rows on the host, also if the caller is being traced and the key is not."""
    with jax.ensure_compile_time_eval():
        return np.asarray(Shuffle.draw(_keys.fold_in_name(key, name), n)(np.arange(n, dtype=np.int32)))


def _copy_rows(data: Dataset, positions: np.ndarray) -> Dataset:
    if _parts.is_spread(data.arrays):
        return take_rows(data, positions)  # each process keeps its rows
    rows = positions if data.rows is None else np.asarray(data.rows)[positions]

    def take(array: jax.Array) -> jax.Array:
        if not _tree.is_concrete(array) or any(device.platform != "cpu" for device in array.devices()):
            return array[rows]
        return _tree.to_device(np.asarray(array)[rows])  # JAX would compile a program for each new size

    weight = None if data.weight is None else take(data.weight)
    return Dataset(jax.tree.map(take, data.arrays), weight=weight)


def _part_sizes(sizes: Sequence[float], n: int) -> np.ndarray:
    parts = np.asarray(_check.array("sizes", sizes), float)
    if parts.ndim != 1 or parts.size == 0 or not (np.isfinite(parts) & (parts > 0)).all():
        raise ValueError(f"sizes must be positive numbers, one for each part, got {sizes}. Try (0.8, 0.2).")
    if parts.sum() == n and (parts == parts.round()).all():
        return parts.astype(int)
    if parts.sum() == n > 1:
        raise ValueError(f"numbers of rows must be integers, got {tuple(sizes)}.")
    if not np.isclose(parts.sum(), 1):
        raise ValueError(
            f"sizes must be fractions that add up to 1 or rows that add up to {n}, got {tuple(sizes)} with "
            f"the sum {parts.sum():g}. Try (0.6, 0.2, 0.2)."
        )
    counts = np.diff(np.concatenate([[0], np.floor(np.cumsum(parts) / parts.sum() * n + 0.5).astype(int)]))
    if (counts == 0).any():
        raise ValueError(f"{n} rows are too few for parts of {tuple(sizes)}: one would be empty.")
    return counts


def _stratified_order(labels: np.ndarray, part_sizes: np.ndarray) -> np.ndarray:
    """An order of rows such that consecutive parts of these sizes hold each label in proportion."""
    _, label, total = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(label), int)  # of a row among those of its label
    rank[np.argsort(label, kind="stable")] = np.concatenate([np.arange(n) for n in total])
    order = np.argsort((rank + 0.5) / total[label], kind="stable")  # every label spread evenly
    part = np.repeat(np.arange(len(part_sizes)), part_sizes)
    counts = np.zeros((len(total), len(part_sizes)), int)
    np.add.at(counts, (label[order], part), 1)
    if (np.abs(counts * len(label) - np.outer(total, part_sizes)) <= len(label)).all():
        return order
    # If many labels are rare, their rows have the same positions and crowd out the others.
    by_key = np.argsort(np.unique(label, return_index=True)[1])
    counts[by_key] = _allocate(total[by_key], part_sizes)
    part = np.sum(rank[order, None] >= np.cumsum(counts, axis=1)[label[order]], axis=1)
    return order[np.argsort(part, kind="stable")]


def _allocate(total: np.ndarray, part_sizes: np.ndarray) -> np.ndarray:
    """The number of rows of each label in each part, [labels, parts]: proportional, rounded down or up.

    The rows of a label that remain after rounding down go to the parts that lack the most rows, one to each
    part. This always fills the parts: it constructs a 0/1 matrix with given row and column sums, which
    exists because the fractions have these sums.

    Source: Gale, "A theorem on flows in networks", 1957.
    """
    counts, fraction = np.divmod(np.outer(total, part_sizes), part_sizes.sum())
    lacking = part_sizes - counts.sum(0)
    for label in range(len(total)):
        remainder = total[label] - counts[label].sum()
        parts = np.lexsort((-fraction[label], -lacking))[:remainder]
        counts[label, parts] += 1
        lacking[parts] -= 1
    return counts

"""Folds for cross-validation: views of one dataset, of equal shapes, so that vmap runs over them."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._types import ArrayLike, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.data._shuffle import Shuffle


@_tree.node
class Folds:
    """All folds of a dataset at once: Datasets that share their arrays and differ in `rows`.

    `folds[i]` is the pair (train, valid) of fold i, and a loop over `folds` goes through the pairs. A part
    that is shorter than another ends in a row of weight zero, which may be a copy of any row: what reads
    `part[:]` itself goes by `part.weights()`, as in `roc_auc(scores, y, valid.weights())`.

    Args:
        train: the rows to train on, a Dataset whose `rows` are [folds, m].
        valid: the rows left out, a Dataset whose `rows` are [folds, k].

    Raises:
        IndexError: from `folds[i]`, if there is no fold i.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> folds = fn.data.kfold((jnp.arange(6.0),), 3, jax.random.key(0))
        >>> len(folds), folds.train.rows.shape, folds.valid.rows.shape
        (3, (3, 4), (3, 2))
        >>> train, valid = folds[0]
        >>> sorted([*train[:][0].tolist(), *valid[:][0].tolist()])
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    train: Dataset
    valid: Dataset

    def __len__(self) -> int:
        return self.train.rows.shape[0]  # type: ignore[union-attr]

    def __getitem__(self, fold: int) -> tuple[Dataset, Dataset]:
        if not -len(self) <= fold < len(self):
            raise IndexError(f"there are {len(self)} folds; got number {fold}.")
        train, valid = (_tree.replace(part, rows=part.rows[fold]) for part in (self.train, self.valid))  # type: ignore[index]
        return train, valid


def kfold(
    data: PyTree,
    folds: int,
    key: Key,
    *,
    stratify: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> Folds:
    """Cut a dataset into folds; each is left out once while the others train.

    Folds differ by one row at most, unless whole groups don't allow it. Shorter ones are filled up
    with a row of weight zero, which counts nowhere, so all have one shape and `jax.vmap` trains them
    together. Rows that have weight zero already are in no fold.

    Where a view has a row several times, as a bootstrap sample does, all its copies go into one fold: no
    model is judged by a row that it was trained on.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        folds: their number, 2 .. n.
        key: decides who goes where.
        stratify: labels [n] (numbers or text); the folds' counts of each differ by one at most.
        groups: labels [n]; all rows of one group go into one fold. Groups are placed one by one, the
            largest first, each into the fold that has fewest rows so far; with `stratify`, fewest of the
            classes that the group's rows are of.

    Returns:
        Folds, each of them a pair (train, valid).

    Raises:
        TypeError: if `key` is no typed key, `folds` no whole number, or the key is traced by jit or vmap.
        ValueError: if there are more folds than rows that count or groups, or not n labels.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.1), epochs=30, batch_size=8)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> folds = fn.data.kfold((x, 2 * x[:, 0]), 5, jax.random.key(1))
        >>> keys = jax.random.split(jax.random.key(2), len(folds))

        One after another, and all at once in one program:

        >>> runs = [train(model, part, k, valid) for (part, valid), k in zip(folds, keys, strict=True)]
        >>> each = fn.data.Dataset.axes(rows=0)
        >>> together = jax.vmap(train, in_axes=(None, each, 0, each))(model, folds.train, keys, folds.valid)
        >>> together.history["val_loss"].shape, bool(together.history["val_loss"][:, -1].max() < 0.01)
        ((5, 30), True)
        >>> alone = jnp.stack([run.history["val_loss"] for run in runs])
        >>> bool(jnp.allclose(together.history["val_loss"], alone, rtol=1e-3, atol=1e-6))
        True

    Source: Stone, "Cross-validatory choice and assessment of statistical predictions", 1974.
    """
    data = as_dataset(data)
    n = len(data)
    _check.positive("folds", folds)
    _check.key(key)
    if not _tree.is_concrete(key):
        raise TypeError(
            "kfold works on the host, and here its key is traced by jit, vmap or grad. Make the folds "
            "before, and map over them: each = Dataset.axes(rows=0); "
            "jax.vmap(train, in_axes=(None, each, 0))(model, folds.train, keys)."
        )
    counts = np.asarray(data.weights()) > 0
    if not 2 <= folds <= counts.sum():
        raise ValueError(
            f"folds is at least 2 and at most the number of rows that count, {counts.sum()}; got {folds}."
        )
    order = np.asarray(Shuffle.draw(_keys.named(key, "kfold"), n)(jnp.arange(n)))
    order = order[counts[order]]
    classes = _numbered("stratify", stratify, n)
    rows = np.asarray(data._row(np.arange(n)))[order]
    if groups is None and len(np.unique(rows)) < len(rows):
        groups = np.asarray(data.rows)
    if groups is None:
        dealt = _dealt(classes[order], folds)
    else:
        group = _numbered("groups", groups, n)[order]
        _check_copies(rows, group)
        dealt = _whole_groups(classes[order], group, folds)
    left_out = [np.asarray(data._row(np.sort(order[dealt == i]))) for i in range(folds)]
    kept = [np.asarray(data._row(np.sort(order[dealt != i]))) for i in range(folds)]
    if any(len({len(part) for part in parts}) > 1 for parts in (left_out, kept)):
        data, empty = _with_empty_row(data)
        left_out, kept = _of_one_length(left_out, empty), _of_one_length(kept, empty)
    train, valid = (
        _tree.replace(data, rows=jnp.asarray(np.stack(parts), jnp.int32)) for parts in (kept, left_out)
    )
    return Folds(train, valid)


def _check_copies(rows: np.ndarray, group: np.ndarray) -> None:
    """Raise if a view has copies of a row in several groups, so that a row would be in several folds."""
    _, number = np.unique(rows, return_inverse=True)
    pairs = np.unique(np.stack([number, group]), axis=1)
    if pairs.shape[1] > number.max() + 1:
        raise ValueError(
            "the data is a view that has a row several times, and groups puts its copies into different "
            "groups. Give all copies of a row one group."
        )


def _numbered(name: str, labels: ArrayLike | None, n: int) -> np.ndarray:
    """Labels as numbers from 0."""
    if labels is None:
        return np.zeros(n, int)
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"{name} holds one label for each of the {n} rows; got shape {values.shape}.")
    return np.unique(values, return_inverse=True)[1]


def _dealt(classes: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: the rows, class by class, dealt like cards."""
    fold = np.empty(len(classes), int)
    fold[np.argsort(classes, kind="stable")] = np.arange(len(classes)) % folds
    return fold


def _whole_groups(classes: np.ndarray, groups: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: groups, the largest first, each where least is of what it brings."""
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    count = len(first)
    if count < folds:
        raise ValueError(f"{count} groups are too few for {folds} folds: one would be empty.")
    brings = np.zeros((count, int(classes.max()) + 1))
    np.add.at(brings, (groups, classes), 1.0)
    # A share of each class and, as one class more, of all rows: so no fold stays empty.
    total = np.append(brings.sum(0), brings.sum())
    brings = np.column_stack([brings, brings.sum(1)]) / np.maximum(total, 1.0)
    by_key = np.argsort(first)
    held, fold = np.zeros((folds, brings.shape[1])), np.empty(count, int)
    for group in by_key[np.argsort(-brings[by_key, -1], kind="stable")]:
        fold[group] = np.argmin(held @ brings[group])
        held[fold[group]] += brings[group]
    return fold[groups]


def _of_one_length(parts: list[np.ndarray], empty: int) -> list[np.ndarray]:
    """Row numbers filled up with that of a row of weight zero."""
    longest = max(map(len, parts))
    return [np.pad(part, (0, longest - len(part)), constant_values=empty) for part in parts]


def _with_empty_row(data: Dataset) -> tuple[Dataset, int]:
    """The dataset with one more row, a copy of its first that counts nowhere, and that row's number."""
    number = jax.tree.leaves(data.arrays)[0].shape[0]
    weight = jnp.ones(number) if data.weight is None else data.weight
    arrays = jax.tree.map(lambda a: jnp.concatenate([a, a[:1]]), data.arrays)
    filled = jnp.concatenate([weight, jnp.zeros_like(weight[:1])])
    return Dataset(arrays, weight=filled, rows=data.rows), number

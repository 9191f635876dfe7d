"""Folds for cross-validation: views of one dataset with equal shapes, so that vmap can map over them."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import ArrayLike, Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.data._split import order_of_rows


@_tree.node
class Folds:
    """All folds of a dataset at once: Datasets that share their arrays and differ in `rows`.

    `folds[i]` is the pair (train, valid) of fold i, and a loop over `folds` yields the pairs. A part that
    is shorter than another is padded with a row of weight zero, which may be a copy of any row: code that
    reads `part[:]` itself must use `part.weights()`, as in `roc_auc(scores, y, valid.weights())`.

    Args:
        train: the rows to train on, a Dataset whose `rows` are [folds, m].
        valid: the held-out rows, a Dataset whose `rows` are [folds, k].

    Raises:
        TypeError: if a part is not a Dataset; from `folds[i]`, if i is not an integer.
        ValueError: if a part is not a view of rows [folds, n].
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

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            part = getattr(self, name)
            if not isinstance(part, Dataset):
                raise TypeError(
                    f"{name} must be a Dataset, got {_check.describe(part)}. Try kfold(data, 5, k)."
                )
            if part.rows is None or part.rows.ndim < 2:
                raise ValueError(f"{name} must be a Dataset with rows [folds, n], as kfold makes it.")

    def __len__(self) -> int:
        return self.train.rows.shape[0]  # type: ignore[union-attr]

    def __getitem__(self, fold: int) -> tuple[Dataset, Dataset]:
        fold = _check.integer("fold", fold)
        if not -len(self) <= fold < len(self):
            raise IndexError(f"fold must be at least {-len(self)} and below {len(self)}, got {fold}.")
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
    """Split a dataset into folds; each is held out once while the others are used for training.

    Without groups of several rows, the sizes of folds differ by at most one row. Shorter ones are padded
    with a row of weight zero, which is ignored everywhere, so all have the same shape and `jax.vmap` can
    train on all of them together. Rows with weight zero in `data` are in no fold.

    If a view contains a row several times, as a bootstrap sample does, all its copies go into one fold: no
    model is evaluated on a row that it was trained on.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...].
        folds: the number of folds, 2 .. n.
        key: determines the fold of each row.
        stratify: labels [n] (numbers or text); without groups of several rows, the counts of each label
            differ by at most one between folds. Other names for the same labels give the same folds.
        groups: labels [n]; all rows of a group go into the same fold. Groups of several rows are assigned
            one by one, the largest first, each to the fold with the fewest rows so far; with `stratify`,
            to the fold with the fewest rows of the group's classes. This is not always the most even
            assignment. Single rows fill the gaps, each in the fold with the fewest rows of its class.

    Returns:
        Folds, each of them a pair (train, valid).

    Raises:
        TypeError: if `key` is not a typed key or is traced by jit or vmap, or `folds` is not an integer.
        ValueError: if there are more folds than groups or rows with a weight above zero, or if there are
            not n labels, or one is missing.

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
    folds = _check.positive("folds", folds)
    _check.key(key)
    if not _tree.is_concrete(key):
        raise TypeError(
            "kfold runs on the host, so its key must not be traced by jit, vmap or grad, got a tracer. "
            "Make the folds first and map over them: each = Dataset.axes(rows=0); "
            "jax.vmap(train, in_axes=(None, each, 0))(model, folds.train, keys)."
        )
    _check.concrete("kfold", (data.weight, data.rows))
    for name, labels in (("stratify", stratify), ("groups", groups)):
        if labels is not None:
            _check.labels(name, labels, n)
    if _tree.is_traced():  # of concrete values all the same: its arrays are computed now
        with jax.ensure_compile_time_eval():
            return _kfold(data, folds, key, stratify, groups)
    return _kfold(data, folds, key, stratify, groups)


def _kfold(
    data: Dataset, folds: int, key: Key, stratify: ArrayLike | None, groups: ArrayLike | None
) -> Folds:
    n = len(data)
    counts = np.asarray(data.weights()) > 0
    if not 2 <= folds <= counts.sum():
        raise ValueError(
            f"folds must be at least 2 and at most the number of rows that count, {counts.sum()}, "
            f"got {folds}."
        )
    order = order_of_rows(key, "kfold", n)
    order = order[counts[order]]
    in_data = np.sort(order)
    classes = _label_numbers("stratify", stratify, n, in_data)[np.searchsorted(in_data, order)]
    rows = np.asarray(data._rows_at(np.arange(n)))[order]
    if groups is None and len(np.unique(rows)) < len(rows):
        groups = np.asarray(data.rows)
    if groups is None:
        fold = _assign_rows(classes, folds)
    else:
        group = _label_numbers("groups", groups, n, order)
        _check_copies(rows, group)
        fold = _assign_groups(classes, group, folds)
    valid_rows = [np.asarray(data._rows_at(np.sort(order[fold == i]))) for i in range(folds)]
    train_rows = [np.asarray(data._rows_at(np.sort(order[fold != i]))) for i in range(folds)]
    if any(len({len(part) for part in parts}) > 1 for parts in (valid_rows, train_rows)):
        data, empty = _with_empty_row(data)
        valid_rows, train_rows = (
            _pad_to_equal_length(valid_rows, empty),
            _pad_to_equal_length(train_rows, empty),
        )
    train, valid = (
        _tree.replace(data, rows=jnp.asarray(np.stack(parts), jnp.int32))
        for parts in (train_rows, valid_rows)
    )
    return Folds(train, valid)


def _check_copies(rows: np.ndarray, group: np.ndarray) -> None:
    """Check that all copies of a row in a view have the same group, so that they are in one fold."""
    _, number = np.unique(rows, return_inverse=True)
    pairs = np.unique(np.stack([number, group]), axis=1)
    if pairs.shape[1] > number.max() + 1:
        raise ValueError(
            "all copies of a row must have the same group, got a view with copies of a row in different "
            "groups. Pass groups by row number: groups[data.rows]."
        )


def _label_numbers(name: str, labels: ArrayLike | None, n: int, order: np.ndarray) -> np.ndarray:
    """The labels of the rows in `order` as integers, numbered as they appear there: names do not matter."""
    if labels is None:
        return np.zeros(len(order), int)
    values = _check.labels(name, labels, n)[order]
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def _assign_rows(classes: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: the rows, sorted by class, go to the folds in turn."""
    fold = np.empty(len(classes), int)
    fold[np.argsort(classes, kind="stable")] = np.arange(len(classes)) % folds
    return fold


def _assign_groups(classes: np.ndarray, groups: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: each group, from the largest, goes to the fold with the fewest such rows.

    Then each single row, class by class, goes to the fold with the fewest rows of its class, and among
    these to the smallest one. If all rows are single, this is `_assign_rows`.
    """
    num_groups, num_classes = int(groups.max()) + 1, int(classes.max()) + 1
    if num_groups < folds:
        raise ValueError(f"folds must be at most {num_groups}, the number of groups, got {folds}.")
    counts = np.zeros((num_groups, num_classes))
    np.add.at(counts, (groups, classes), 1.0)
    sizes = counts.sum(1)
    # A fraction of each class and, as one more class, of all rows, so that no fold stays empty.
    total = np.append(counts.sum(0), sizes.sum())
    fractions = np.column_stack([counts, sizes]) / np.maximum(total, 1.0)
    in_fold, fold = np.zeros((folds, num_classes + 1)), np.empty(num_groups, int)
    for group in np.argsort(-sizes, kind="stable")[: np.sum(sizes > 1)]:
        fold[group] = np.argmin((in_fold / np.maximum(total, 1.0)) @ fractions[group])
        in_fold[fold[group]] += np.append(counts[group], sizes[group])
    single = np.flatnonzero(sizes == 1)
    class_of = counts.argmax(1)
    for group in single[np.argsort(class_of[single], kind="stable")]:
        fold[group] = np.lexsort((in_fold[:, -1], in_fold[:, class_of[group]]))[0]
        in_fold[fold[group], [class_of[group], -1]] += 1
    return fold[groups]


def _pad_to_equal_length(parts: list[np.ndarray], empty: int) -> list[np.ndarray]:
    """Row numbers padded with the number of a row of weight zero."""
    length = max(map(len, parts))
    return [np.pad(part, (0, length - len(part)), constant_values=empty) for part in parts]


def _with_empty_row(data: Dataset) -> tuple[Dataset, int]:
    """The dataset with one more row, a copy of its first with weight zero, and the number of that row."""
    number = jax.tree.leaves(data.arrays)[0].shape[0]
    weight = jnp.ones(number) if data.weight is None else data.weight
    arrays = jax.tree.map(lambda a: jnp.concatenate([a, a[:1]]), data.arrays)
    weight = jnp.concatenate([weight, jnp.zeros_like(weight[:1])])
    return Dataset(arrays, weight=weight, rows=data.rows), number

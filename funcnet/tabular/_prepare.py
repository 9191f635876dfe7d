"""Prepare a table for training: split, encode, scale, and build the training function."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.data import Columns, Dataset, Encoder, Scaler, Table, split
from funcnet.data._scaler import fit_scaler
from funcnet.data._split import split_rows
from funcnet.losses import cross_entropy, squared_error, supervised
from funcnet.metrics import absolute_error, accuracy
from funcnet.models import MLP
from funcnet.tabular._model import TableModel
from funcnet.train import EarlyStopping, Fit, fit

FRACTIONS = (0.6, 0.2, 0.2)
# Chosen on iris, digits, wine and breast-cancer by the mean accuracy over many splits: there, this weight
# decay improves it more than a second hidden layer does.
DROPOUT, WEIGHT_DECAY = 0.2, 0.3


def check_settings(hidden: Sequence[int], learning_rate: float, seed: int) -> None:
    for i, units in enumerate(hidden):
        _check.positive(f"hidden[{i}]", units)
    learning_rate = _check.between("learning_rate", learning_rate, 0.0, float("inf"))
    if learning_rate == 0:
        raise ValueError("learning_rate must be above 0, got 0. Try learning_rate=1e-3.")
    if not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {_check.describe(seed)}. Try seed=0.")
    seed = _check.between("seed", seed, 0, 2**32)


def check_memory(net: MLP, epochs: int, num_runs: int = 1) -> None:
    """Raise a ValueError if the runs of a network can't fit into memory.

    A run holds its weights, their gradient and the two moments of AdamW; of each run remain its weights and
    the five columns of its history.
    """
    sizes = [1 if size == "scalar" else size for size in net.sizes]
    num_parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    runs = f"{num_runs:,} runs" if num_runs > 1 else "the run"
    _check.fits_in_memory(
        f"the weights and the history of {runs} with hidden={tuple(net.sizes[1:-1])} and epochs={epochs}",
        4 * (3 * num_parameters + num_runs * (num_parameters + 5 * epochs)),
    )


def make_train(
    table: Table,
    epochs: int,
    batch_size: int,
    learning_rate: Any,
    patience: int | None,
    weight_decay: Any = WEIGHT_DECAY,
) -> Fit:
    """A training function: AdamW on cross-entropy, or on the squared error of a standardized target."""
    loss = (
        supervised(cross_entropy, accuracy=accuracy)
        if table.class_names
        else supervised(squared_error, absolute_error=absolute_error)
    )
    return fit(
        loss,
        optax.adamw(learning_rate, weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        stopping=None if patience is None else EarlyStopping(patience=patience),
    )


def split_table(table: Table, key: Key) -> tuple[PyTree, ...]:
    """Training, validation and test rows; a standard split of the table is kept.

    From a file they are tuples (x, y) of NumPy's arrays, with all digits.
    """
    if len(table.standard_split) != 2:
        return _split(table.arrays, FRACTIONS, key, table.class_names)
    rest, test = _split(table.arrays, table.standard_split, None, ())
    train, valid = _split(rest, (5 / 6, 1 / 6), key, table.class_names)
    return train, valid, test


def _split(data: PyTree, sizes: Sequence[float], key: Key | None, classes: Sequence[str]) -> Any:
    """`split`, stratified if there are classes, which narrows no array that is not in a Dataset."""
    _, y = data[:] if isinstance(data, Dataset) else data
    labels = y if classes else None
    if isinstance(data, Dataset):
        return split(data, sizes, key, stratify=labels)
    parts = split_rows(len(y), sizes, key, labels)
    return tuple(jax.tree.map(lambda a, rows=rows: a[rows], data) for rows in parts)


def prepare(
    table: Table, parts: tuple[PyTree, ...], hidden: tuple[int, ...]
) -> tuple[TableModel, list[Dataset]]:
    """The untrained model with its fitted preprocessing, and the preprocessed parts.

    Numbers from a file are scaled in float64, as they were read, and only then narrowed to float32.
    """
    # Pixels share one unit, and the scale of a pixel that is nearly always black is not meaningful.
    pixels = all(name.startswith("pixel") for name in table.feature_names)
    x, y = parts[0][:]
    encoder = Encoder.fit(parts[0]) if isinstance(x, Columns) else None
    if encoder is not None:
        parts = tuple(encoder.transform(part) for part in parts)
    columns = table.feature_names if encoder is None else encoder.feature_names
    scaler = fit_scaler(parts[0], per_feature=not pixels, columns=columns)
    if encoder is not None:  # one-hot features are not scaled: a rare category would become an outlier
        is_number = encoder.is_number
        scaler = Scaler(np.where(is_number, scaler.shift, 0.0), np.where(is_number, scaler.scale, 1.0))
    features, targets = ([part[:][i] for part in parts] for i in (0, 1))
    target_scaler = None
    if not table.class_names:
        target_scaler = fit_scaler(y, per_feature=False, name=f"the target {table.target_name!r}")
        targets = [target_scaler.transform(y) for y in targets]
    scaled = [
        Dataset((scaler.transform(x), y), weight=getattr(part, "weight", None))
        for x, y, part in zip(features, targets, parts, strict=True)
    ]
    outputs: Any = len(table.class_names) or "scalar"
    model = MLP((len(columns), *hidden, outputs), dropout=DROPOUT)
    names = table.feature_names, table.target_name, table.class_names
    return TableModel(model, scaler, *names, target_scaler, encoder), scaled

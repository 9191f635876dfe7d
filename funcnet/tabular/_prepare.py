"""Prepare a table for a study: what a plain MLP is trained on."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax

from funcnet import _check
from funcnet._types import Key
from funcnet.data import Dataset, Scaler, Table
from funcnet.data._scaler import fit_scaler
from funcnet.data._split import order_of_rows, split_rows
from funcnet.losses import cross_entropy, squared_error, supervised
from funcnet.metrics import absolute_error, accuracy
from funcnet.models import MLP
from funcnet.tabular._preprocessing import ANY_SIZE, fit_preprocessing
from funcnet.tabular._schema import Schema, check_not_empty
from funcnet.tabular._split import class_numbers, split_table
from funcnet.tabular._targets import LARGEST_TARGET
from funcnet.train import EarlyStopping, Fit, fit

VALIDATION = 0.25
"""Of the rows that are not for testing."""
DROPOUT, WEIGHT_DECAY = 0.2, 0.3


class StudyData(NamedTuple):
    """What the runs of a study share.

    Args:
        net: an MLP for the features and the target.
        parts: rows to train on, to validate on and to test on.
        target_scaler: scaler of the target of a regression.
    """

    net: MLP
    parts: Sequence[Dataset]
    target_scaler: Scaler | None


def prepare_study(
    table: Table,
    hidden: Sequence[int],
    keys: tuple[Key, Key],
    roles: Mapping[str, str] | None = None,
    missing: Sequence[str] = (),
    dayfirst: bool | None = None,
) -> StudyData:
    """Read and scale the columns of a table by its training rows: 60 % of them, 20 % are for validation.

    Args:
        table: a table.
        hidden: units in each hidden layer.
        keys: of the test rows, and of the validation rows.
        roles: of columns, as `Schema.fit` takes them.
        missing: words that count as missing.
        dayfirst: whether the day comes first in dates that can be read in two ways.
    """
    rest, test = split_table(table, None, order_of_rows(keys[0], "split", len(table)))
    classes = class_numbers(table)
    strata = None if classes is None else classes[rest]
    train, valid = split_rows(len(rest), (1 - VALIDATION, VALIDATION), keys[1], strata)
    parts = rest[train], rest[valid], test
    frame, y = table.to_pandas().drop(columns=table.target_name), np.asarray(table.arrays[:][1])
    schema = Schema.fit(frame.iloc[parts[0]], roles=roles, missing=missing, dayfirst=dayfirst)
    check_not_empty(schema)
    features = [schema.encode(frame.iloc[rows]) for rows in parts]
    preprocessing = fit_preprocessing(features[0], ANY_SIZE)
    target_scaler, targets = None, [y[rows] for rows in parts]
    if not table.class_names:
        if (largest := float(np.abs(y).max())) > LARGEST_TARGET:
            raise ValueError(
                f"the target {table.target_name!r} must be at most {LARGEST_TARGET:.0e} in size, got "
                f"{largest:.3g}. Try larger units."
            )
        target_scaler = fit_scaler(targets[0], per_feature=False, name=f"the target {table.target_name!r}")
        targets = [target_scaler.transform(target) for target in targets]
    outputs: Any = len(table.class_names) or "scalar"
    net = MLP((preprocessing.width, *hidden, outputs), dropout=DROPOUT)
    pairs = zip(features, targets, strict=True)
    data = [Dataset((preprocessing.matrix(part), target)) for part, target in pairs]
    return StudyData(net, data, target_scaler)


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


def check_settings(hidden: Sequence[int], learning_rate: float, seed: int) -> None:
    """Check the settings of a study that nothing else checks before it trains."""
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

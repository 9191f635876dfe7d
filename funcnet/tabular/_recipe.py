"""Train networks on the features of a table: several folds and starts, as one program."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _check
from funcnet._types import Key
from funcnet.tabular._calibration import choose_temperature, out_of_fold
from funcnet.tabular._choices import (
    Choices,
    Recipe,
    Settings,
    choose,
    choose_rates,
    hidden_sizes,
    is_auto,
)
from funcnet.tabular._features import Features
from funcnet.tabular._members import Members
from funcnet.tabular._network import Network, init_parameters, pack
from funcnet.tabular._preprocessing import Preprocessing, fit_preprocessing
from funcnet.tabular._sizes import pad, round_up
from funcnet.tabular._targets import Target, check_target, standardize, standardize_as, target_bounds
from funcnet.tabular._training import RunRows, TableArrays, TrainedRuns, train_runs

Fold = tuple[np.ndarray, np.ndarray]
DEFAULT = Recipe()
PASS = Recipe(class_rate=0.01, value_rate=0.02, few_rows_value_rate=0.02, cycles=0.0)
"""For one pass at a time: the learning rate does not change within a pass."""


def train_members(
    features: Features,
    target: Any,
    task: str,
    *,
    weight: Any = None,
    folds: Sequence[Fold] | None = None,
    settings: Settings | None = None,
    num_classes: int | None = None,
    recipe: Recipe = DEFAULT,
    start: Members | None = None,
    progress: Callable[[int, int], None] | None = None,
    key: Key,
) -> Members:
    """Train several networks on a table and keep the best epoch of each.

    Numbers are robustly scaled and embedded, categories one-hot encoded or embedded; the network is an MLP
    with a learned scale for each input. Each fold is held out by `members` runs, which choose their best
    epoch by it. Predictions are means of probabilities or values over all runs.

    Args:
        features: the training rows.
        target: "classes": integers [rows] from 0; "labels": 0 or 1 [rows, labels]; "values": numbers [rows]
            or [rows, outputs].
        task: "classes", "labels" or "values".
        weight: [rows]: rows of weight 0 are left out; all 1 if None.
        folds: pairs of row numbers (train, validation). If None, one split holds out a share of the rows,
            or none, as the settings say.
        settings: see `Settings`; all "auto" if None.
        num_classes: number of classes; one more than the largest class if None.
        recipe: the constants behind "auto".
        start: members of the same columns to train further: their preprocessing, scaling of targets and
            sizes are kept. Without folds, every run continues on all rows of the split.
        progress: called with the number of runs that were finished since its last call, and of all.
        key: a key of `jax.random.key`; the same key gives the same bits.

    Returns:
        Members.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the numbers of rows differ, a target or weight is out of range, a fold is empty, or
            folds or settings do not fit those of `start`.
        FloatingPointError: if a run never reached a finite loss.

    Example:
        >>> import jax, numpy as np
        >>> from funcnet.tabular._features import Features
        >>> x = np.linspace(-1, 1, 100)[:, None]
        >>> features = Features(x, np.zeros((100, 0), np.int32), ())
        >>> settings = Settings(max_iter=10, hidden_layer_sizes=(32,))
        >>> key = jax.random.key(0)
        >>> members = train_members(features, x[:, 0] > 0, "classes", settings=settings, key=key)
        >>> members.predict(features)[[0, -1]].argmax(1).tolist()
        [0, 1]
    """
    settings = _settings_of(start, Settings() if settings is None else settings)
    _check.key(key)
    targets, outputs = check_target(target, task, len(features), num_classes)
    weights = _check_weight(weight, len(features))
    kept = np.flatnonzero(weights)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    choices = choose(settings, task, len(kept), 1 if folds is None else len(folds))
    if folds is None:
        folds = [_split(kept, targets, task, choices, rng)]
    if len(folds) == 0:
        raise ValueError("folds must hold at least one pair of row numbers, got none.")
    folds = [_check_fold(i, fold, weights) for i, fold in enumerate(folds)]
    if start is None:
        used = features if len(kept) == len(features) else features.rows(kept)
        preprocessing = fit_preprocessing(used, recipe.max_one_hot)
        scaled = standardize(targets, weights, task, outputs)
    else:
        folds = _folds_of(start, folds, choices.members)
        preprocessing = start.preprocessing
        scaled = standardize_as(start, targets, weights, task, outputs)
    (bounds,) = target_bounds(targets, scaled, [kept], start)
    net, table = _arrange(features, preprocessing, scaled, bounds, weights, choices, recipe.number_size)
    columns, num_runs = preprocessing.columns, len(folds) * choices.members
    _check_size(net, choices, num_runs, max(len(fold[0]) for fold in folds))
    if choices.epochs == 1 and all(len(fold[0]) <= choices.batch_size for fold in folds):
        recipe = dataclasses.replace(recipe, cycles=0.0)  # a cycle begins with a learning rate of zero
    unknown = preprocessing.unknown_rows
    starts = [init_parameters(net, columns, unknown, stream) for stream in rng.spawn(num_runs)]
    initial = _stack(starts) if start is None else dict(start.parameters)
    seeds = rng.integers(2**32, size=num_runs, dtype=np.uint32)
    rates = choose_rates(settings, recipe, choices, starts[0], int(net.input_mask(columns).sum()), task)
    rows = _arrange_rows(folds, choices.members)
    max_epochs = round_up(choices.epochs, 256)
    runs = train_runs(
        net, task, choices.batch_size, max_epochs, table, rates, rows, initial, seeds, progress
    )
    _check_finite(runs, choices)
    fold = np.repeat(np.arange(len(folds)), choices.members)
    temperature, source = 1.0, "not calibrated"
    if task != "values" and settings.calibrate is not False:
        default = 1.0 if start is None else start.temperature
        temperature, source = choose_temperature(runs.outputs, rows, scaled, weights, default)
    # Out-of-fold values within the range of all targets would know those that are held out.
    own_rows = [train for train, _ in folds for _ in range(choices.members)]
    own_bounds = target_bounds(targets, scaled, own_rows, start)
    return Members(
        network=net,
        task=task,
        preprocessing=preprocessing,
        parameters=runs.parameters,
        temperature=temperature,
        center=scaled.center,
        scale=scaled.scale,
        bounds=bounds,
        is_vector=targets.ndim == 2,
        chosen=choices.describe(settings) | {"temperature": (temperature, source)},
        out_of_fold=out_of_fold(
            runs.outputs, rows, scaled, own_bounds, len(features), temperature, targets.ndim == 2
        ),
        history=runs.history,
        best_epoch=runs.best_epoch,
        fold=fold,
    )


def _stack(starts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The packed parameters of all runs, with a leading axis [runs]."""
    packed = [pack(parameters, np) for parameters in starts]
    return {name: np.stack([parameters[name] for parameters in packed]) for name in packed[0]}


def _check_weight(weight: Any, rows: int) -> np.ndarray:
    if weight is None:
        return np.ones(rows)
    values = np.asarray(_check.array("weight", weight)).astype(np.float64)
    if values.shape != (rows,):
        raise ValueError(f"weight must have shape [{rows}], got shape {values.shape}.")
    _check.weights(values)
    return values


def _check_size(net: Network, choices: Choices, runs: int, rows: int) -> None:
    """Raise a ValueError if the runs can't fit into memory, or their steps not into 32 bits.

    Each holds its parameters, their start, and a history of two columns; one in training also its gradient,
    two moments and the best parameters.
    """
    sizes = (net.inputs, *net.hidden, net.outputs)
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes)) + 8 * net.vocabulary
    _check.fits_in_memory(
        f"the weights and the history of {runs:,} runs with hidden_layer_sizes={net.hidden}, members="
        f"{choices.members} and max_iter={choices.epochs}",
        4 * (5 * parameters + runs * (2 * parameters + 2 * choices.epochs)),
    )
    steps = choices.epochs * max(1, rows // choices.batch_size)
    if steps >= 2**31:
        raise ValueError(
            f"max_iter must give fewer than 2**31 steps, got {steps:,} with {choices.epochs:,} epochs. Try "
            "max_iter=100."
        )


def _check_fold(i: int, fold: Fold, weights: np.ndarray) -> Fold:
    """The rows of a fold with a weight above 0."""
    n = len(weights)
    parts = []
    for name, rows in zip(("train", "validation"), fold, strict=True):
        index = np.asarray(rows)
        if index.ndim != 1 or not (np.issubdtype(index.dtype, np.integer) or not index.size):
            raise TypeError(f"folds[{i}] must hold arrays of row numbers, got {_check.describe(rows)}.")
        index = index.astype(np.int64)
        if ((index < 0) | (index >= n)).any():
            raise ValueError(f"folds[{i}] must hold rows 0 .. {n - 1}, got {index.min()} .. {index.max()}.")
        parts.append(index[weights[index] > 0])
        if name == "train" and not len(parts[0]):
            raise ValueError(f"folds[{i}] must train on at least one row with a weight above 0, got none.")
    return parts[0], parts[1]


def _split(
    kept: np.ndarray, targets: np.ndarray, task: str, choices: Choices, rng: np.random.Generator
) -> Fold:
    """One split of the rows by `validation_fraction`, by class; without validation rows if it is 0."""
    held_out = round(len(kept) * choices.validation_fraction)
    if choices.stops and len(kept) > 1:  # something must be watched
        held_out = min(max(held_out, 1), len(kept) - 1)
    if held_out == 0 or held_out >= len(kept):
        return kept, kept[:0]
    order = rng.permutation(len(kept))
    if task == "classes":  # rows in the order of their classes, every (1/fraction)th of them held out
        order = order[np.argsort(targets[kept][order], kind="stable")]
    start = np.floor(np.arange(len(kept)) * held_out / len(kept) + rng.random())
    is_held_out = np.diff(start, append=start[0] + held_out) > 0
    return np.sort(kept[order[~is_held_out]]), np.sort(kept[order[is_held_out]])


def _settings_of(start: Members | None, settings: Settings) -> Settings:
    """The settings, with the sizes of the networks that are trained further."""
    if start is None:
        return settings
    net = start.network
    for name, kept in (("hidden_layer_sizes", net.hidden), ("activation", net.activation)):
        given = getattr(settings, name)
        if not is_auto(given) and (given if isinstance(given, str) else hidden_sizes(given)) != kept:
            raise ValueError(
                f"{name} must stay {kept!r} where networks are trained further, got {given!r}. Try "
                "warm_start=False, or fit again."
            )
    members = len(start) // (int(start.fold.max()) + 1) if settings.members == "auto" else settings.members
    return dataclasses.replace(
        settings, hidden_layer_sizes=net.hidden, activation=net.activation, members=members
    )


def _folds_of(start: Members, folds: list[Fold], members: int) -> list[Fold]:
    """The folds of the runs of `start`: one without validation rows is that of all runs."""
    if len(folds) == 1 and not len(folds[0][1]):
        folds = folds * (len(start) // members)
    if len(folds) != start.fold.max() + 1 or len(folds) * members != len(start):
        raise ValueError(
            f"folds and members must stay those of the {len(start)} runs that are trained further, got "
            f"{len(folds)} folds of {members} members. Keep cv and members, or set warm_start=False."
        )
    return folds


def _arrange(
    features: Features,
    preprocessing: Preprocessing,
    target: Target,
    bounds: np.ndarray,
    weights: np.ndarray,
    choices: Choices,
    number_size: int,
) -> tuple[Network, TableArrays]:
    """The padded network and the padded rows of the table, on the device: a large table is there once."""
    columns = preprocessing.columns
    numbers, others, codes = (round_up(size, 4) for size in columns[:3])
    vocabulary = round_up(columns.vocabulary, 64)
    layers = choices.hidden, len(target.center), choices.activation
    net = Network(numbers, others, codes, vocabulary, *layers, number_size)
    rows = round_up(len(features), 256)
    mask = net.input_mask(columns)
    mean_one = (weights / weights[weights > 0].mean()).astype(np.float32)
    padded = preprocessing.transform(features, rows, (numbers, others, codes))
    targets = pad(target.values, rows)
    arrays = TableArrays(padded, targets, pad(mean_one, rows), mask, bounds.astype(np.float32))
    return net, jax.device_put(arrays)


def _arrange_rows(folds: Sequence[Fold], members: int) -> RunRows:
    """The padded row numbers of each run: the members of a fold follow one another."""

    def stack(part: int) -> tuple[np.ndarray, np.ndarray]:
        counts = np.array([len(fold[part]) for fold in folds], np.int32)
        size = round_up(max(int(counts.max()), 1), 64)
        rows = np.stack([pad(fold[part].astype(np.int32), size) for fold in folds])
        return np.repeat(rows, members, axis=0), np.repeat(counts, members)

    return RunRows(*stack(0), *stack(1))


def _check_finite(runs: TrainedRuns, choices: Choices) -> None:
    at_best = runs.history["loss"][np.arange(len(runs.best_epoch)), runs.best_epoch]
    finite = np.isfinite(at_best) & np.isfinite(runs.outputs).all(axis=(1, 2))
    if not finite.all():
        raise FloatingPointError(
            f"{int((~finite).sum())} of {len(finite)} runs reached no finite loss in {choices.epochs} "
            "epochs. Try a smaller learning_rate_init, or scale very large weights or targets."
        )

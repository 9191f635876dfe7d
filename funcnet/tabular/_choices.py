"""The settings of a training, and what is chosen where they are "auto"."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from funcnet import _check
from funcnet.tabular._activations import ACTIVATIONS
from funcnet.tabular._network import pack
from funcnet.tabular._training import Rates

PLAIN = ("bias_", "mixture_", "shift", "phase")
"""Parameters without weight decay."""

FEW_ROWS = 1000
NEVER = 2**30
"""Epochs of patience of a run that is not stopped."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train on a table; each is "auto", the recipe's choice, or a value with scikit-learn's meaning.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: "selu", "mish", "relu", "silu", "gelu", "tanh", "logistic" or "identity".
        alpha: L2 penalty, divided by the rows of a batch; instead of the recipe's decoupled decay.
        batch_size: rows in a batch.
        learning_rate_init: the highest step size of Adam, for weights that are not rescaled.
        max_iter: the number of epochs.
        early_stopping: True stops when the validation score has not improved for `n_iter_no_change`
            epochs; False trains on all rows to the end, unless there are folds; "auto" keeps the best of
            `max_iter` epochs.
        validation_fraction: the share of rows held out if there are no folds.
        n_iter_no_change: see `early_stopping`; 10 if it is True.
        members: starts for each fold.
        calibrate: scale the logits by the temperature with the lowest loss on the rows held out.
    """

    hidden_layer_sizes: Any = "auto"
    activation: Any = "auto"
    alpha: Any = "auto"
    batch_size: Any = "auto"
    learning_rate_init: Any = "auto"
    max_iter: Any = "auto"
    early_stopping: Any = "auto"
    validation_fraction: Any = "auto"
    n_iter_no_change: Any = "auto"
    members: Any = "auto"
    calibrate: Any = "auto"

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            TypeError: if a value has the wrong type.
            ValueError: if a value is out of range.
        """
        for name in ("batch_size", "max_iter", "n_iter_no_change", "members"):
            if not is_auto(value := getattr(self, name)):
                _check.positive(name, value)
        for name in ("early_stopping", "calibrate"):
            value = getattr(self, name)
            if not is_auto(value) and not isinstance(value, bool):
                raise TypeError(f'{name} must be "auto", True or False, got {_check.describe(value)}.')
        for name, low, high in (
            *(("alpha", 0.0, math.inf), ("learning_rate_init", 0.0, math.inf)),
            ("validation_fraction", 0.0, 1.0),
        ):
            if not is_auto(value := getattr(self, name)):
                _check.between(name, value, low, high)
                if value == 0 and name != "alpha":
                    raise ValueError(f"{name} must be above 0, got {value}.")
        if not is_auto(self.activation) and self.activation not in tuple(ACTIVATIONS):
            names = ", ".join(f'"{name}"' for name in ACTIVATIONS)
            raise ValueError(f'activation must be "auto" or one of {names}, got {self.activation!r}.')
        if not is_auto(self.hidden_layer_sizes):
            hidden_sizes(self.hidden_layer_sizes)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The constants of the recipe; what each is worth is measured in experiments/tables_ablation.py.

    Args:
        class_rate: highest learning rate for classes and labels, of weights with the NTK parametrisation.
        value_rate: the same for values.
        few_rows_value_rate: the same for up to 1,000 rows, on which there are few steps.
        scale_factor: the learning rate of the scale of each input, relative to the weights'.
        dropout: probability, constant for half of the run and then along a cosine to 0.
        smoothing: label smoothing of classes and labels.
        decay: decoupled weight decay, along the same curve as dropout.
        cycles: cycles of the learning rate; 0 keeps it at its highest.
        loss_share: the weight of the loss beside the error rate when the best epoch is chosen.
        number_size: size of the embedding of a number.
        max_one_hot: categories of up to this many values are one-hot encoded.
    """

    class_rate: float = 0.04
    value_rate: float = 0.08
    few_rows_value_rate: float = 0.2
    scale_factor: float = 6.0
    dropout: float = 0.15
    smoothing: float = 0.1
    decay: float = 0.02
    cycles: float = 4.0
    loss_share: float = 0.3
    number_size: int = 3
    max_one_hot: int = 9


class Choices(NamedTuple):
    """The settings of a training on `rows` rows, none "auto"; `reasons` says why each was chosen."""

    rows: int
    hidden: tuple[int, ...]
    activation: str
    batch_size: int
    epochs: int
    members: int
    patience: int
    validation_fraction: float
    reasons: dict[str, str]

    @property
    def stops(self) -> bool:
        """Whether a run ends before `epochs`, when its validation score no longer improves."""
        return self.patience < NEVER

    def describe(self, settings: Settings) -> dict[str, tuple[Any, str]]:
        """Each setting with its value and why it was chosen."""
        values = {
            "hidden_layer_sizes": self.hidden,
            "activation": self.activation,
            "batch_size": self.batch_size,
            "max_iter": self.epochs,
            "members": self.members,
            "n_iter_no_change": self.patience,
            "validation_fraction": self.validation_fraction,
            "early_stopping": settings.early_stopping,
        }
        return {name: (value, self.reasons[name]) for name, value in values.items() if name in self.reasons}


def choose(settings: Settings, task: str, rows: int, folds: int) -> Choices:
    """The choice for each setting that is "auto".

    Args:
        settings: what the user gave.
        task: "classes", "labels" or "values".
        rows: the number of training rows with a weight above zero.
        folds: the number of train and validation pairs; 1 for a single split or none.
    """
    epochs, batch_size, width, members = _sizes(rows, task)
    reasons: dict[str, str] = {}

    def value(name: str, chosen: Any, why: str) -> Any:
        given = getattr(settings, name)
        reasons[name] = why if is_auto(given) else "given"
        return chosen if is_auto(given) else given

    hidden = value("hidden_layer_sizes", (width, width, width), f"for {rows:,} rows")
    stopping = value("early_stopping", "auto", "the best epoch is kept")
    return Choices(
        rows=rows,
        hidden=hidden_sizes(hidden),
        activation=value("activation", "mish" if task == "values" else "selu", f"for {task}"),
        batch_size=_batch_size(settings.batch_size, batch_size, rows, reasons),
        epochs=int(value("max_iter", epochs, f"for {rows:,} rows")),
        members=int(value("members", members, f"for {rows:,} rows and {folds} folds")),
        patience=int(value("n_iter_no_change", 10, "scikit-learn's")) if stopping is True else NEVER,
        validation_fraction=0.0
        if stopping is False
        else float(value("validation_fraction", 0.2, "if there are no folds")),
        reasons=reasons,
    )


def _batch_size(given: Any, chosen: int, rows: int, reasons: dict[str, str]) -> int:
    """Of more rows than there are a batch would hold some twice."""
    if is_auto(given):
        reasons["batch_size"] = f"for {rows:,} rows"
        return chosen
    reasons["batch_size"] = "given" if given <= rows else f"given, and at most the {rows:,} rows"
    return min(int(given), rows)


def _sizes(rows: int, task: str) -> tuple[int, int, int, int]:
    """Epochs, batch size, width and members for a number of rows.

    Few rows get smaller networks, so that a fit takes a second, and values more epochs, since the number of
    steps limits them. Above 6,000 rows there is one member a fold, and above 10,000 there are fewer epochs
    of larger batches, so that the time grows slowly. Batches of 256 for 192 epochs from 2,000 rows on take
    twice the time: errors are a fifth lower on one public table, a third higher on another, and equal on
    the mean of seven; so are batches of 128, and members of both kinds.
    """
    if rows <= FEW_ROWS:
        return 96 if task == "values" else 48, 64, 128, 1
    if rows <= 6000:
        return 64, 64, 256, 2
    if rows <= 10_000:
        return 64, 128, 256, 1
    return max(640_000 // rows, 8), 256, 256, 1


def choose_rates(
    settings: Settings,
    recipe: Recipe,
    choices: Choices,
    parameters: Mapping[str, np.ndarray],
    inputs: int,
    task: str,
) -> Rates:
    """The learning rate and decay of each parameter, packed as the parameters are.

    Args:
        settings: what the user gave.
        recipe: the constants where it gave none.
        choices: the rest.
        parameters: of one run, by name.
        inputs: inputs of the first layer without padding.
        task: "classes", "labels" or "values".
    """
    sizes = (inputs, *choices.hidden)
    if is_auto(settings.learning_rate_init):
        value_rate = recipe.few_rows_value_rate if choices.rows <= FEW_ROWS else recipe.value_rate
        rate = value_rate if task == "values" else recipe.class_rate
        learning = {name: rate * _rate_factor(name, recipe) for name in parameters}
    else:
        # Weights are divided by √inputs when they are applied, so they move √inputs times as far.
        learning = dict.fromkeys(parameters, float(settings.learning_rate_init))
        learning |= {f"weight_{i}": learning[f"weight_{i}"] * size**0.5 for i, size in enumerate(sizes)}
    has_decay = is_auto(settings.alpha)
    decay = {name: recipe.decay * (has_decay and not name.startswith(PLAIN)) for name in parameters}
    penalty = {}
    if not has_decay:
        per_row = float(settings.alpha) / choices.batch_size
        penalty = {f"weight_{i}": per_row / size for i, size in enumerate(sizes)}
    return Rates(
        _spread(learning, parameters),
        _spread(decay, parameters),
        penalty,
        recipe.dropout,
        0.0 if task == "values" else recipe.smoothing,
        recipe.cycles,
        recipe.loss_share,
        choices.epochs,
        choices.patience,
    )


def _spread(rates: Mapping[str, float], parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One number for each weight, and a vector for the others."""
    full = {name: np.full(value.size, rates[name], np.float32) for name, value in parameters.items()}
    rest = pack(full, np)["rest"]
    return {name: rates[name] for name in parameters if name.startswith("weight_")} | {"rest": rest}


def _rate_factor(name: str, recipe: Recipe) -> float:
    if name == "scale":
        return recipe.scale_factor
    return 1.0 if name.startswith(("weight_", "embedding")) else 0.1


def hidden_sizes(value: Any) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, list | tuple | np.ndarray) else (value,)
    for i, size in enumerate(sizes):
        _check.positive(f"hidden_layer_sizes[{i}]", size)
    return tuple(int(size) for size in sizes)


def is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"

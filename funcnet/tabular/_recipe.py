"""Train the members of a table's model: runs over folds and starts, and their predictions."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _keys, losses
from funcnet.data import Dataset
from funcnet.models import MLP
from funcnet.tabular._features import Features
from funcnet.tabular._matrix import Matrix
from funcnet.train import EarlyStopping, Fit, fit

Task = Literal["classes", "labels", "values"]
Folds = Sequence[tuple[np.ndarray, np.ndarray]]

LOSSES: dict[str, Any] = {
    "classes": losses.cross_entropy,
    "labels": losses.multilabel_cross_entropy,
    "values": losses.squared_error,
}
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid, "identity": lambda x: x}
BLOCK = 256
"""Rows predicted at once, so that a prediction does not depend on the rows beside it."""


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int | np.integer) else value
    if not isinstance(sizes, list | tuple | np.ndarray):
        raise TypeError(
            f"{name} must be 'auto' or integers, got {_check.describe(value)}. Try {name}=(128, 128)."
        )
    for size in sizes:
        _check.positive(f"each of {name}", size)
    return tuple(int(size) for size in sizes)


def _integer(name: str, value: Any) -> int:
    _check.positive(name, value)
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    _check.boolean(name, value)
    return bool(value)


def _positive(name: str, value: Any) -> float:
    _check.above_zero(name, value)
    return float(value)


def _not_negative(name: str, value: Any) -> float:
    _check.number(name, value)
    if not 0 <= value < np.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
    return float(value)


def _fraction(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    _check.number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"{name} must be above 0 and below 1, got {value}.")
    return float(value)


def _activation(name: str, value: Any) -> str:
    _check.choice(name, value, ACTIVATIONS)
    return str(value)


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "hidden_layer_sizes": _sizes,
    "activation": _activation,
    "alpha": _not_negative,
    "batch_size": _integer,
    "learning_rate_init": _positive,
    "max_iter": _integer,
    "early_stopping": _boolean,
    "validation_fraction": _fraction,
    "n_iter_no_change": _integer,
    "members": _integer,
    "calibrate": _boolean,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the recipe: "auto", or a value with the meaning it has in scikit-learn's MLP.

    Args:
        hidden_layer_sizes: units in each hidden layer.
        activation: of the hidden layers: "identity", "logistic", "tanh" or "relu".
        alpha: strength of the weight decay.
        batch_size: rows in a batch.
        learning_rate_init: the learning rate.
        max_iter: passes over the rows.
        early_stopping: whether validation rows choose the epoch.
        validation_fraction: fraction of the rows used for validation, without folds.
        n_iter_no_change: epochs without improvement after which a run stops.
        members: runs for each fold.
        calibrate: whether to scale the temperature of probabilities on out-of-fold rows.
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
        """Check the values that are not "auto"."""
        for name, check in CHECKS.items():
            value = getattr(self, name)
            if not (isinstance(value, str) and value == "auto"):
                object.__setattr__(self, name, check(name, value))


@dataclasses.dataclass(frozen=True, eq=False)
class Members:
    """Trained networks with their preprocessing.

    Args:
        task: "classes", "labels" or "values".
        matrix: the preprocessing.
        sizes: layer sizes of each network.
        activation: name of the activation function.
        weights: of each network, arrays [runs, ...] in the order of its layers.
        shift, scale: of the targets of "values", [outputs].
        temperature: what the logits are divided by.
        fold: the fold that each run holds out, int32 [runs].
        out_of_fold: the prediction of each training row by the runs that hold it out, [rows, ...]; NaN in
            rows never held out.
        history: by name, float [runs, epochs]: "loss" and "val_loss"; NaN where a run had ended.
        best_epoch: of each run, int32 [runs].
        chosen: each setting with its value and why it was chosen.
    """

    task: str
    matrix: Matrix
    sizes: tuple[int, ...]
    activation: str
    weights: list[np.ndarray]
    shift: np.ndarray
    scale: np.ndarray
    temperature: float
    fold: np.ndarray
    out_of_fold: np.ndarray
    history: dict[str, np.ndarray]
    best_epoch: np.ndarray
    chosen: dict[str, tuple[Any, str]]

    def predictions(self, features: Features) -> np.ndarray:
        """Of each run: probabilities, or values in the target's units, float64 [runs, rows, ...]."""
        return _from_outputs(self, self._outputs(features))

    def predict(self, features: Features) -> np.ndarray:
        """The mean of `predictions` over the runs."""
        return self.predictions(features).mean(axis=0)

    def _outputs(self, features: Features) -> np.ndarray:
        """The outputs of the networks, float64 [runs, rows, outputs]."""
        x = _pad(self.matrix.transform(features), self.sizes[0])
        blocks = [x[i : i + BLOCK] for i in range(0, len(x), BLOCK)] or [x]
        weights = [jnp.asarray(w) for w in self.weights]
        outputs = [
            np.asarray(_apply(self.sizes, self.activation, weights, _pad_rows(block, BLOCK)))[
                :, : len(block)
            ]
            for block in blocks
        ]
        return np.concatenate(outputs, axis=1).astype(np.float64)


def train_members(
    features: Features,
    target: np.ndarray,
    task: Task,
    *,
    weight: np.ndarray | None = None,
    folds: Folds | None = None,
    settings: Settings = Settings(),
    num_classes: int | None = None,
    start: Members | None = None,
    key: Any,
) -> Members:
    """Train a network for each fold and start.

    Args:
        features: the training rows.
        target: int32 [rows] for "classes", 0 or 1 [rows, labels] for "labels", float64 [rows] or
            [rows, outputs] for "values".
        task: "classes", "labels" or "values".
        weight: of each row, float64 [rows]; 1 each if None.
        folds: pairs (training rows, validation rows); all rows are for training if None, unless
            `early_stopping` takes some for validation.
        settings: the settings.
        num_classes: of "classes".
        start: members whose preprocessing and weights these runs continue from; without folds, each of
            its runs continues on all rows.
        key: a typed PRNG key.
    """
    chosen = _choose(settings, len(target))
    weight = np.ones(len(target)) if weight is None else np.asarray(weight, float)
    weight = weight / weight.mean()
    splits = _split(folds, len(target), chosen, key)
    if start is not None:
        if folds is None:  # all runs of the start continue on all rows
            splits = splits * max(1, len(start.fold) // chosen["members"])
        if len(start.fold) != len(splits) * chosen["members"]:
            raise ValueError(
                f"the runs must be as many as those they continue, {len(start.fold)}, got "
                f"{len(splits) * chosen['members']}. Keep cv and members, or set warm_start=False."
            )
    matrix = Matrix.fit(features, weight) if start is None else start.matrix
    y, shift, scale = _scale_target(target, task, weight, start)
    outputs = int(num_classes or 2) if task == "classes" else y.shape[1]
    width = 8 * -(-max(matrix.width, 1) // 8)  # few different widths, so that few programs are compiled
    net = MLP((width, *chosen["hidden_layer_sizes"], outputs), activation=ACTIVATIONS[chosen["activation"]])
    x = _pad(matrix.transform(features), width)
    train = _train(
        task,
        chosen["max_iter"],
        chosen["batch_size"],
        chosen["learning_rate_init"],
        chosen["alpha"],
        chosen["n_iter_no_change"] if splits[0][1] is not None else None,
    )
    runs: list[Any] = []
    fold = []
    for i, (rows, valid_rows) in enumerate(splits):
        data = _dataset(x, y, weight, rows)
        valid = None if valid_rows is None else _dataset(x, y, weight, valid_rows)
        for _ in range(chosen["members"]):
            own = jax.random.fold_in(_keys.fold_in_name(key, "run"), len(runs))
            model = net.init(_keys.fold_in_name(own, "init"))
            if start is not None:
                leaves = [jnp.asarray(w[len(runs)]) for w in start.weights]
                model = jax.tree.unflatten(jax.tree.structure(model), leaves)
            runs.append(train(model, data, _keys.fold_in_name(own, "train"), valid))
            fold.append(i)
    stacked = jax.tree.map(lambda *a: np.stack([np.asarray(b) for b in a]), *[r.model for r in runs])
    history = {
        name: np.stack([np.asarray(r.history[name]) for r in runs])
        for name in ("loss", "val_loss")
        if name in runs[0].history
    }
    epochs = [int(r.best_epoch) for r in runs]
    members = Members(
        task=task,
        matrix=matrix,
        sizes=net.sizes,  # type: ignore[arg-type]
        activation=chosen["activation"],
        weights=jax.tree.leaves(stacked),
        shift=shift,
        scale=scale,
        temperature=1.0,
        fold=np.array(fold, np.int32),
        out_of_fold=np.zeros(0),
        history=history,
        best_epoch=np.array([e if e >= 0 else chosen["max_iter"] - 1 for e in epochs], np.int32),
        chosen={
            name: (value, "by default" if getattr(settings, name) == "auto" else "as given")
            for name, value in chosen.items()
        },
    )
    return _with_out_of_fold(members, features, target, weight, splits)


def _choose(settings: Settings, rows: int) -> dict[str, Any]:
    defaults = {
        "hidden_layer_sizes": (64, 64),
        "activation": "relu",
        "alpha": 1e-2,
        "batch_size": 32 if rows < 1000 else 256,
        "learning_rate_init": 3e-3,
        "max_iter": 100,
        "early_stopping": False,
        "validation_fraction": 0.1,
        "n_iter_no_change": 100,
        "members": 1,
        "calibrate": True,
    }
    return {n: d if (v := getattr(settings, n)) == "auto" else v for n, d in defaults.items()}


def _split(folds: Folds | None, rows: int, chosen: Mapping[str, Any], key: Any) -> list[Any]:
    if folds is not None:
        return list(folds)
    if not chosen["early_stopping"]:
        return [(np.arange(rows), None)]
    seed = np.asarray(jax.random.key_data(_keys.fold_in_name(key, "split"))).tolist()
    order = np.random.default_rng(seed).permutation(rows)
    count = max(1, round(rows * chosen["validation_fraction"]))
    return [(np.sort(order[count:]), np.sort(order[:count]))]


@functools.lru_cache(maxsize=64)
def _train(task: str, epochs: int, batch_size: int, rate: float, alpha: float, patience: int | None) -> Fit:
    stopping = None if patience is None else EarlyStopping(patience=patience)
    optimizer = optax.adamw(rate, weight_decay=alpha)
    return fit(
        losses.supervised(LOSSES[task]),
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        stopping=stopping,
        on_nan="ignore",
    )


def _scale_target(
    target: np.ndarray, task: str, weight: np.ndarray, start: Members | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if task != "values":
        return target.astype(np.int32), np.zeros(0), np.zeros(0)
    y = target.reshape(len(target), -1)
    shift = np.average(y, axis=0, weights=weight) if start is None else start.shift
    scale = np.sqrt(np.average((y - shift) ** 2, axis=0, weights=weight)) if start is None else start.scale
    scale = np.where(scale > 0, scale, 1.0)
    return ((y - shift) / scale).astype(np.float32), shift, scale


def _pad(x: np.ndarray, width: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))


def _pad_rows(x: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(x, ((0, rows - len(x)), *[(0, 0)] * (x.ndim - 1)))


def _dataset(x: np.ndarray, y: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> Dataset:
    """Some rows, with rows of weight zero up to a size of which there are few."""
    size = 32 << max(0, int(np.ceil(np.log2(max(len(rows), 1) / 32))))
    return Dataset(
        (_pad_rows(x[rows], size), _pad_rows(y[rows], size)),
        weight=jnp.asarray(_pad_rows(weight[rows], size), float),
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(sizes: tuple[int, ...], activation: str, weights: list[Any], x: Any) -> Any:
    net = MLP(sizes, activation=ACTIVATIONS[activation])
    structure = jax.tree.structure(net.init(jax.random.key(0)))
    return jax.vmap(lambda leaves: jax.tree.unflatten(structure, leaves)(x))(weights)


def _from_outputs(members: Members, outputs: np.ndarray) -> np.ndarray:
    """Probabilities or values of the outputs of networks, [..., outputs]."""
    if members.task == "values":
        return outputs * members.scale + members.shift
    z = outputs / members.temperature
    if members.task == "labels":
        return 1 / (1 + np.exp(-z))
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def _with_out_of_fold(
    members: Members, features: Features, target: np.ndarray, weight: np.ndarray, splits: Sequence[Any]
) -> Members:
    """The members with their out-of-fold predictions, and the temperature that suits these best."""
    total = np.zeros((len(target), members.sizes[-1]))
    count = np.zeros(len(target))
    for run, fold in enumerate(members.fold):
        rows = splits[fold][1]
        if rows is not None:
            one = dataclasses.replace(members, weights=[w[run : run + 1] for w in members.weights])
            total[rows] += one._outputs(features.rows(rows))[0]
            count[rows] += 1
    held_out = count > 0
    logits = total[held_out] / count[held_out, None]
    if members.task != "values" and members.chosen["calibrate"][0] and held_out.any():

        def loss(temperature: float) -> float:
            scaled = dataclasses.replace(members, temperature=temperature)
            p = np.clip(_from_outputs(scaled, logits), 1e-12, 1.0)
            y = target[held_out]
            if members.task == "labels":
                each = -np.log(np.where(y == 1, p, np.clip(1 - p, 1e-12, 1.0))).sum(axis=1)
            else:
                each = -np.log(p[np.arange(len(y)), y])
            return float(np.average(each, weights=weight[held_out]))

        grid = [float(t) for t in np.geomspace(0.1, 10.0, 61)]
        members = dataclasses.replace(members, temperature=min(grid, key=loss))
    out_of_fold = np.full(total.shape, np.nan)
    out_of_fold[held_out] = _from_outputs(members, logits)
    return dataclasses.replace(members, out_of_fold=out_of_fold)

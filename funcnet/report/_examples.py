"""The data of a figure: features, classes, names and the outputs of a model."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import modules
from funcnet._module._model import join
from funcnet.data import Scaler
from funcnet.study._ensemble import Ensemble
from funcnet.study._study import to_rows
from funcnet.train import predict
from funcnet.train._evaluate import as_tree

MAX_CLASSES = 1000


def pairs(function: str, data: Any, argument: str = "data") -> tuple[np.ndarray, np.ndarray]:
    """The features [n, features] or [n] and targets [n] or [n, 1] of a dataset."""
    examples = to_rows(argument, data, None, None, concrete=True)[:]
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(
            f"{argument} of {function} must be a pair (x, y), got {type(examples).__name__}. Try "
            f"{argument}=(x, y)."
        )
    if not all(hasattr(part, "ndim") for part in examples):
        raise ValueError(f"{argument} of {function} must be a pair of arrays (x, y), got other trees.")
    x, y = (np.asarray(a) for a in examples)
    if x.ndim > 2:
        raise ValueError(f"x of {function} must have shape [n, features], got {x.shape}.")
    return _as_floating(x), y


def line_data(function: str, data: Any, argument: str = "data") -> tuple[np.ndarray, np.ndarray]:
    """Examples of one feature and a numeric target: x as given, [n] or [n, 1], and y [n]."""
    x, y = pairs(function, data, argument)
    if x.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"x of {function} must have one feature, got shape {x.shape}. Train on one column and pass it, "
            "such as x[:, [0]]."
        )
    if y.shape[1:] not in ((), (1,)):
        raise ValueError(f"y of {function} must have one number for each row, got shape {y.shape}.")
    return x, _as_floating(y).reshape(-1)


def class_numbers(function: str, y: np.ndarray, rows: int) -> np.ndarray:
    """The class numbers [rows], integers from 0."""
    y = y[:, 0] if y.shape == (rows, 1) else y
    y = y.astype(int) if y.dtype == bool else y
    if y.shape != (rows,) or not np.isfinite(y).all() or (y != np.round(y)).any() or y.min() < 0:
        raise ValueError(
            f"targets in the data of {function} must be one class number for each row, 0, 1, …, got "
            f"shape {y.shape} and dtype {y.dtype}. From one-hot rows: y.argmax(axis=1)."
        )
    if y.max() >= MAX_CLASSES:
        raise ValueError(
            f"targets in the data of {function} must be below {MAX_CLASSES}, the most that a figure shows, "
            f"got {y.max():g}."
        )
    return y.astype(int)


def two_columns(function: str, x: np.ndarray, features: Sequence[int] | None) -> list[int]:
    """The indices of the two columns of x [n, features] to draw."""
    if x.ndim != 2 or x.shape[1] < 2 or (x.shape[1] > 2 and features is None):
        raise ValueError(
            f"{function} draws two features, got x of shape {x.shape}. Choose columns: features=(0, 1)."
        )
    return columns(function, x, (0, 1) if features is None else features, 2)


def columns(function: str, x: np.ndarray, features: Any, count: int) -> list[int]:
    """`features` as a list of `count` different column numbers of x."""
    if isinstance(features, str) or not _is_iterable(features):
        raise TypeError(f"features of {function} must be column numbers, got {_check.describe(features)}.")
    indices = list(features)
    for index in indices:
        _check.not_negative(f"each of features of {function}", index)
    if len(set(indices)) != count or len(indices) != count or not set(indices) <= set(range(x.shape[1])):
        raise ValueError(
            f"features of {function} must be {count} different column numbers from 0 to {x.shape[1] - 1}, "
            f"got {tuple(indices)}."
        )
    return indices


def names(argument: str, given: Sequence[str] | None, count: int) -> list[str]:
    """The given names; "feature 1", … or "class 0", … if None."""
    if given is None:
        kind, first = ("class", 0) if argument == "class_names" else ("feature", 1)
        return [f"{kind} {first + i}" for i in range(count)]
    if isinstance(given, str) or not _is_iterable(given) or not hasattr(given, "__len__"):
        raise TypeError(f"{argument} must be a list of names, got {_check.describe(given)}.")
    if len(given) < count:
        raise ValueError(f"{argument} must hold {count} names, got {len(given)}: {list(given)[:10]}.")
    return [str(name) for name in given]


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and getattr(value, "shape", None) != ()


def outputs(function: str, model: Any, x: np.ndarray, scaler: Scaler | None) -> np.ndarray:
    """The outputs of one model, [n, outputs], for the rows of x in the units of the data."""
    _check_one_model(function, model)
    _check.function(f"model of {function}", model, "a model of one example")
    check_scaler(scaler)
    scaled = jnp.asarray(x if scaler is None else scaler.transform(x))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(as_tree(model)) if hasattr(leaf, "dtype")}
    if len(dtypes) == 1 and jnp.issubdtype(dtype := dtypes.pop(), jnp.floating):
        scaled = scaled.astype(dtype)  # inputs in the dtype of the model
    predictions = predict(model, scaled)
    if not isinstance(predictions, jax.Array):
        raise TypeError(
            f"the model of {function} must return an array, got {_check.describe(predictions)}."
        )
    predictions = np.asarray(predictions)
    if predictions.ndim > 2:
        raise ValueError(
            f"the model of {function} must return a number or a vector of logits for one example, got "
            f"shape {predictions.shape[1:]}. Draw one member of a vmapped model: "
            "jax.tree.map(lambda a: a[0], run.model)."
        )
    return _as_floating(predictions).reshape(len(predictions), -1)


def to_inputs(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Points of a grid as inputs in the shape and dtype of the features x, in the range of the dtype."""
    limits = np.finfo(x.dtype)
    return np.clip(grid, limits.min, limits.max).astype(x.dtype).reshape(-1, *x.shape[1:])


def classes_of(logits: np.ndarray) -> np.ndarray:
    """The predicted class numbers of logits [n, outputs]; one logit means class 1 above 0."""
    return (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def check_scaler(scaler: Any) -> None:
    """Raise unless the argument `scaler` is a Scaler or None."""
    if scaler is not None and not isinstance(scaler, Scaler):
        raise TypeError(
            f"scaler must be a fitted Scaler or None, got {_check.describe(scaler)}. Try "
            "scaler=fn.data.Scaler.fit(x)."
        )


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The class probabilities softmax(logits) over the last axis; classes at +inf share the probability."""
    z = np.asarray(logits, float)
    certain = np.isposinf(z)
    z = np.where(certain.any(axis=-1, keepdims=True), np.where(certain, 0.0, -np.inf), z)
    with np.errstate(invalid="ignore"):  # all classes at -inf have no probabilities
        powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def finite_range(values: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest finite value; 0 and 1 if there is none."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper axis limits [features] of the finite points x [n, features], with a margin."""
    low, high = np.array([finite_range(column) for column in x.T]).T
    margin = np.where(high > low, 0.08 * (high - low), np.maximum(1.0, 0.08 * np.abs(high)))
    return low - margin, high + margin


def _check_one_model(function: str, model: Any) -> None:
    """Raise for a Run, or for a module whose parameters have a leading axis from vmap."""
    if hasattr(model, "model") and hasattr(model, "state"):
        raise TypeError(
            f"model of {function} must be a model, got a {type(model).__name__}: pass run.model."
        )
    by_path = modules(model)
    ensembles = [path for path, module in by_path.items() if isinstance(module, Ensemble)]
    averaged = tuple(join(path, "members") for path in ensembles)
    for path, module in by_path.items():
        if path.startswith(averaged):  # the members of an ensemble, which is one model
            continue
        for name, expected in jax.eval_shape(module.parameters, jax.random.key(0)).items():
            shape = np.shape(getattr(module, name))
            if len(shape) > expected.ndim:
                raise ValueError(
                    f"{function} draws one model, got a vmapped one: {name} of {path or 'the model'} has "
                    f"shape {shape}. Draw one member: jax.tree.map(lambda a: a[0], run.model)."
                )


def _as_floating(values: np.ndarray) -> np.ndarray:
    return values.astype(np.result_type(values.dtype, np.float32))

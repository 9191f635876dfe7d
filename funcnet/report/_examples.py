"""What a figure is drawn of: examples of one, two or more features, classes, names, one model's outputs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._module import modules
from funcnet.data import Scaler
from funcnet.data._dataset import as_dataset
from funcnet.train import predict
from funcnet.train._evaluate import as_tree


def pairs(what: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The features [n, features] or [n] and targets [n] or [n, 1] of a dataset."""
    examples = as_dataset(data)[:]
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(f"{what} wants data (x, y); pass data=(x, y).")
    x, y = (np.asarray(a) for a in examples)
    if x.ndim > 2:
        raise ValueError(f"{what} wants features in columns, [n, features]; x has shape {x.shape}.")
    return _floating(x), y


def line_data(what: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Examples of one feature and one number: x [n] or [n, 1] as it came, y [n]."""
    x, y = pairs(what, data)
    if x.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{what} draws one feature; x has shape {x.shape}. Train on one column, such as x[:, [0]], "
            "and pass that."
        )
    if y.shape[1:] not in ((), (1,)):
        raise ValueError(f"{what} wants one number for each row; y has shape {y.shape}.")
    return x, _floating(y).reshape(-1)


def class_numbers(what: str, y: np.ndarray, rows: int) -> np.ndarray:
    """Class numbers [rows] from 0."""
    y = y[:, 0] if y.shape == (rows, 1) else y
    if y.shape != (rows,) or (y != np.round(y)).any() or y.min() < 0:
        raise ValueError(
            f"{what} wants one class number for each row, 0, 1, …; y has shape {y.shape} and dtype "
            f"{y.dtype}. From one-hot rows: y.argmax(axis=1)."
        )
    return y.astype(int)


def two_columns(what: str, x: np.ndarray, features: Sequence[int] | None) -> list[int]:
    """The two columns of x [n, features] that are drawn."""
    if x.ndim != 2 or x.shape[1] < 2 or (x.shape[1] > 2 and features is None):
        raise ValueError(
            f"{what} draws two features; x has shape {x.shape}. Choose two columns: features=(0, 1)."
        )
    return columns(what, x, (0, 1) if features is None else features, 2)


def columns(what: str, x: np.ndarray, features: Sequence[int], count: int) -> list[int]:
    """`count` different column numbers of x."""
    chosen = [int(f) for f in features]
    if len(set(chosen)) != count or len(chosen) != count or not set(chosen) <= set(range(x.shape[1])):
        raise ValueError(
            f"features of {what} holds {count} different column numbers from 0 to {x.shape[1] - 1}; got "
            f"{tuple(features)}."
        )
    return chosen


def names(argument: str, given: Sequence[str] | None, count: int) -> list[str]:
    """The first `count` names; "feature 1", … or "class 0", … where none were given."""
    if given is None:
        kind, first = ("class", 0) if argument == "class_names" else ("feature", 1)
        return [f"{kind} {first + i}" for i in range(count)]
    if len(given) < count:
        raise ValueError(
            f"{argument} holds {len(given)} names and {count} are wanted. Got {list(given)[:10]}."
        )
    return [str(name) for name in given]


def outputs(what: str, model: Any, x: np.ndarray, scaler: Scaler | None) -> np.ndarray:
    """What one model gives for each row of x, in x's own units: [n, outputs]."""
    _one_model(what, model)
    scaled = jnp.asarray(x if scaler is None else scaler.transform(x))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(as_tree(model)) if hasattr(leaf, "dtype")}
    if len(dtypes) == 1:  # a model of one precision gets its features in that precision
        scaled = scaled.astype(dtypes.pop())
    predictions = np.asarray(predict(model, scaled))
    if predictions.ndim > 2:
        raise ValueError(
            f"{what} wants a model that gives a number or a row of logits for one example; got shape "
            f"{predictions.shape[1:]}. Of many models made by vmap draw one: "
            "jax.tree.map(lambda a: a[0], run.model)."
        )
    return _floating(predictions).reshape(len(predictions), -1)


def classes_of(logits: np.ndarray) -> np.ndarray:
    """The predicted class numbers of logits [n, outputs]; one logit means class 1 above 0."""
    return (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def limits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper ends [features] of a picture of points x [n, features]: with a margin."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    return low - margin, high + margin


def _one_model(what: str, model: Any) -> None:
    """Raise for a Run, or for a module whose parameters have the leading axis that vmap gives."""
    if hasattr(model, "model") and hasattr(model, "state"):
        raise TypeError(f"{what} draws a model, and a {type(model).__name__} came: pass run.model.")
    for path, module in modules(model).items():
        for name, wanted in jax.eval_shape(module.parameters, jax.random.key(0)).items():
            shape = np.shape(getattr(module, name))
            if len(shape) > wanted.ndim:
                raise ValueError(
                    f"{what} draws one model; this one was made by vmap: {name} of {path or 'it'} has "
                    f"shape {shape}. Draw one member: jax.tree.map(lambda a: a[0], run.model)."
                )


def _floating(values: np.ndarray) -> np.ndarray:
    return values.astype(np.result_type(values.dtype, np.float32))

"""Training: keys, losses, metrics, optimizers and settings of studies."""

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._check._libraries import not_lifted
from funcnet._check._values import choice, describe, function, function_name, string, takes

LARGEST_HISTORY = 10**9
"""Bytes of the history of one run, some 60 million epochs of four values."""


def key(value: Any, call: str = "") -> None:
    """Check that a value is one typed key, as returned by `jax.random.key`.

    Args:
        value: the key.
        call: the call that it is an argument of, for the message: another argument may be in its place.
    """
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if value.shape == ():
            return
        raise ValueError(
            f"key must be a single key, got an array of keys of shape {value.shape}. "
            "For many runs at once: jax.vmap(train, in_axes=(0, None, 0))(models, data, keys)."
        )
    raise TypeError(
        f"key must be a typed JAX key, got {describe(value)}. "
        + (f"Write {call}" if call else "Try key=jax.random.key(0)")
        + ", or convert an old-style key: jax.random.wrap_key_data(key)."
    )


def concrete_key(what: str, value: Any) -> None:
    """Check that a value is a typed key and not a tracer, for code that runs on the host."""
    key(value)
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{what} runs on the host, so its key must not be traced by jit, vmap or grad, got a tracer. "
            "Call it outside of them, with a key from jax.random.key(0)."
        )


def transform(name: str, value: Any) -> None:
    """Check that a value is a function of (key, example)."""
    expected = "a function (key, example) -> example"
    function(name, value, expected)
    try:
        inspect.signature(value).bind(None, None)
    except (TypeError, ValueError):  # a builtin function may have no signature
        raise TypeError(
            f"{name} must be {expected}, got {getattr(value, '__name__', value)!r}, which takes "
            "other arguments. Try def transform(key, example): x, y = example; return x + 1, y."
        ) from None


def per_example(name: str, value: Any) -> None:
    """Check that a value is a function of (prediction, target) for one example."""
    function(name, value, "a function (prediction, target) -> scalar, such as fn.losses.squared_error")
    function_name = getattr(value, "__name__", None) or getattr(
        getattr(value, "func", value), "__name__", name
    )
    if getattr(value, "of_all_rows", False):
        raise TypeError(
            f"{name} must be a metric of one example, got {function_name}, which ranks all rows at once. "
            f"Compute it from all predictions: fn.metrics.{function_name}(fn.predict(model, x), y); for a "
            "fold pass its weights too, valid.weights()."
        )
    try:
        inspect.signature(value).bind(None, None)
    except ValueError:
        return  # some builtins have no signature
    except TypeError:
        raise TypeError(
            f"{name} must be a function (prediction, target) of one example, got {function_name}, which "
            f"takes other arguments. If it has settings, bind them first: {name}={function_name}(...) or "
            f"functools.partial({function_name}, ...)."
        ) from None


def loss(value: Any, name: str = "loss") -> None:
    """Check that a value is a function of (model, example, key), or marked by `losses.batchwise`."""
    expected = "a function (model, example, key) -> scalar"
    function(
        name, value, f"{expected}, as in fn.fit(fn.losses.supervised(fn.losses.squared_error), optimizer)"
    )
    if _is_train_function(value):
        raise TypeError(f"{name} must be {expected}, got a training function. Pass its loss: train.loss.")
    if getattr(value, "of_all_rows", False):
        raise TypeError(
            f"{name} must be {expected}, got {value.__name__}, which ranks all rows at once. Train with "
            "fn.losses.supervised(fn.losses.binary_cross_entropy)."
        )
    if getattr(value, "batchwise", False):
        return
    try:
        signature = inspect.signature(value)
        signature.bind(None, None, None)
    except ValueError:
        return  # some builtins have no signature
    except TypeError:
        leaves = jax.tree.leaves(value)
        if not (len(leaves) == 1 and leaves[0] is value):
            raise TypeError(
                f"loss must be {expected}, got {describe(value)}, which is a model. The loss comes first: "
                "fn.fit(loss, optax.adam(1e-3), epochs=20), fn.evaluate(loss, model, (x, y))."
            ) from None
        raise TypeError(
            f"{name} must be {expected}, got {function_name(value)!r}, which takes other arguments. From a "
            "function of (prediction, target): fn.losses.supervised(f). From a loss of a whole batch, "
            "f(model, batch, weight, key): fn.losses.batchwise(f)."
        ) from None
    third = [*signature.parameters, "", "", ""][2]
    if third in ("y", "target", "targets", "label", "labels"):
        raise TypeError(
            f"{name} must be {expected}, got {function_name(value)!r}, whose third argument is {third!r}: "
            "a loss is (model, example, key). Write def loss(model, example, key): x, y = example; ..."
        )


def train_function(value: Any, name: str = "train") -> None:
    """Check that a value is a training function, as returned by `fn.fit`."""
    if not _is_train_function(value):
        raise TypeError(
            f"{name} must be a function returned by fn.fit, got {describe(value)}. "
            "Try train = fn.fit(loss, optax.adam(1e-2), epochs=20)."
        )


def train_factory(value: Any, expected: str, /, *args: Any, **named: Any) -> None:
    """Check that a value is a function of these arguments, and not a training function itself."""
    if _is_train_function(value):
        raise TypeError(
            f"make_train must be {expected}, got a training function. Make it inside: make_train=lambda "
            "learning_rate: fn.fit(loss, optax.adam(learning_rate), epochs=20)."
        )
    takes("make_train", value, expected, *args, **named)


def _is_train_function(value: Any) -> bool:
    return callable(value) and hasattr(value, "loss") and hasattr(value, "epochs")


def settings(values: Mapping[str, Any]) -> None:
    """Check that there are settings, each with at least one value."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise TypeError(
            f"settings must be a mapping from names to lists of values, got {describe(values)}. Try "
            "{'learning_rate': [0.01, 0.1]}."
        )
    for name, choices in dict(values).items():
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(choices) if isinstance(leaf, jax.Array)]
        if any(jnp.issubdtype(dtype, jax.dtypes.prng_key) for dtype in dtypes):
            raise TypeError(
                f"settings must be floats or hashable, got a key for {name}. A study takes its key when it "
                "is called."
            )
        if (
            isinstance(choices, str)
            or not hasattr(choices, "__len__")
            or np.shape(choices)[:1] in ((), (0,))
        ):
            raise ValueError(
                f"each of settings must have a list of values, got {describe(choices)} for {name}. "
                "Try {'learning_rate': [0.01, 0.1]}."
            )
    if not values:
        raise ValueError("there are no settings to sweep over. Try {'learning_rate': [0.01, 0.1]}.")


def hyperparams(values: Any) -> None:
    """Check that a pytree holds floats or floating arrays, at least one."""
    leaves = jax.tree_util.tree_leaves_with_path(values)
    for path, leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        if isinstance(leaf, float) or (isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)):
            continue
        raise TypeError(
            f"hyperparams{jax.tree_util.keystr(path)} must be floating, got {describe(leaf)}. "
            "Try {'learning_rate': 0.1}; for sizes use fn.study.sweep."
        )
    if not leaves:
        raise ValueError("hyperparams must hold at least one number. Try {'learning_rate': 0.1}.")


def validation_name(argument: str, name: str) -> None:
    """Check that a name is that of a value on the validation data."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} must be a name such as 'val_loss', got {describe(name)}.")
    if not name.startswith("val_"):
        raise ValueError(
            f"{argument} must name a value on the validation data, such as 'val_loss', got {name!r}."
        )


def validation_value(monitor: str, mode: str) -> None:
    """Check the name of a value on the validation data, and whether to minimize or maximize it."""
    choice("mode", mode, ("min", "max"))
    validation_name("monitor", monitor)
    direction(monitor, mode)


LARGER_IS_BETTER = {"accuracy", "precision", "recall", "f1", "r2", "auc", "top"}


def direction(monitor: str, mode: str) -> None:
    """Check, as far as names show it, that a metric where larger is better is not minimized."""
    string("monitor", monitor, "val_loss")
    if mode == "min" and _is_better_when_larger(monitor):
        raise ValueError(
            f"mode must be 'max' for {monitor!r}, which is better when it is larger, got 'min'. Try "
            f"monitor={monitor!r}, mode='max'."
        )


def keep_best_direction(name: str) -> None:
    """Check, as far as names show it, that a metric where larger is better has a "-" as in `keep_best`."""
    if not name.startswith("-") and _is_better_when_larger(name):
        raise ValueError(
            f"keep_best must be '-{name}' for {name!r}, which is better when it is larger, got {name!r}."
        )


def minimized_metric(name: str) -> None:
    """Check, as far as names show it, that a metric that is minimized is not better when it is larger."""
    if _is_better_when_larger(name):
        raise ValueError(
            f"metric must be one that is minimized, got {name!r}, which is better when it is larger. Try "
            f"metric=lambda run: -run.history[{name!r}][-1]."
        )


def _is_better_when_larger(name: str) -> bool:
    parts = name.split("_")
    return bool(LARGER_IS_BETTER & set(parts)) and parts[-1] not in ("loss", "error")


def architecture(value: Any, name: str = "net") -> None:
    """Check that a value is a module with an `init`: no class, and no optax GradientTransformation."""
    not_lifted(value)
    if isinstance(value, type | tuple) or not callable(getattr(value, "init", None)):
        raise TypeError(
            f"{name} must be a module with an init, got {describe(value)}. Try fn.MLP((4, 16, 3))."
        )


def optimizer(value: Any) -> None:
    """Check that a value is an optax GradientTransformation."""
    if not (callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))):
        of_steps = argument_names(value) == ["steps"]
        raise TypeError(
            f"optimizer must be an optax GradientTransformation, got {describe(value)}. Try "
            + ("optimizer(steps=1_000), with the number of steps." if of_steps else "optax.adam(1e-2).")
        )


def argument_names(value: Any) -> list[str]:
    """The names of a function's arguments; none if it is not a function, or its signature is not known."""
    try:
        return list(inspect.signature(value).parameters)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return []


def monitored_metric(name: str, metrics: Iterable[str], has_valid: bool, argument: str = "monitor") -> None:
    """Check that the history will hold a metric."""
    names = list(metrics)
    if name not in names:
        hint = "" if has_valid else " For metrics on validation data: train(model, data, key, valid)."
        hint += " For a value of a callback, the callback itself can stop: fn.train.Request(stop=True)."
        raise ValueError(
            f"{argument} must be a name in the history ({', '.join(names)}), got {name!r}.{hint}"
        )


def history_value(name: str, value: Any) -> None:
    """Check that a metric is a scalar, so that a history can hold it."""
    if value.shape:
        raise ValueError(
            f"a history holds one number for each epoch, got shape {value.shape} for {name}. Compute it "
            f"after training: fn.evaluate(loss, run.model, data)[{name.removeprefix('val_')!r}]."
        )


def history_size(epochs: int, structs: Iterable[Any]) -> None:
    """Check that a history of so many epochs can be allocated."""
    size = epochs * sum(struct.dtype.itemsize for struct in structs)
    if size > LARGEST_HISTORY:
        raise ValueError(
            f"epochs must be at most {int(epochs * LARGEST_HISTORY / size):,}, got {epochs:,}: the history "
            f"would take {size / 1e9:.1f} GB. Early stopping ends a run of any length."
        )


def num_steps(epochs: int, per_epoch: int) -> None:
    """Check that the steps of a run can be counted in int32."""
    if epochs * per_epoch >= 2**31:
        raise ValueError(
            f"a run must have fewer than 2**31 steps, got epochs={epochs:,} of {per_epoch:,} steps. Choose "
            "fewer epochs or a larger batch_size."
        )


def equal_shapes(what: str, prediction: Any, target: Any) -> None:
    """Check that prediction and target have the same shape: nothing is broadcast silently."""
    if jnp.shape(prediction) != jnp.shape(target):
        hint = ""
        if jnp.shape(prediction) == (*jnp.shape(target), 1):
            hint = " Set the last layer's size to 'scalar' instead of 1, or add an axis: y[:, None]."
        raise ValueError(
            f"{what} expects a prediction and a target of the same shape, got a prediction of shape "
            f"{jnp.shape(prediction)} and a target of shape {jnp.shape(target)} for one example.{hint}"
        )


def same_shape(name: str, value: Any, other: str, like: Any) -> None:
    """Check that an array has the shape of another."""
    if jnp.shape(value) != jnp.shape(like):
        raise ValueError(
            f"{name} must have the shape of {other}, {jnp.shape(like)}, got {jnp.shape(value)}."
        )


def scalar(name: str, value: Any, batch: tuple[int, ...] = ()) -> None:
    """Check that a value is a scalar for one example; for a batch of examples it has the shape `batch`."""
    if not hasattr(value, "dtype") and not isinstance(value, int | float | bool):
        raise TypeError(
            f"{name} must be a scalar for one example, got {describe(value)}. "
            "Return an array of shape (), or such a scalar and a dictionary of metrics."
        )
    if jnp.shape(value) != batch:
        raise ValueError(
            f"{name} must be a scalar for one example, got shape {jnp.shape(value)[len(batch) :]}. "
            "Reduce it, for example with jnp.mean(...): funcnet adds the batch axis. A loss of a whole "
            "batch is marked: fn.losses.batchwise(f) of f(model, batch, weight, key)."
        )


def metric_names(names: Iterable[Any]) -> None:
    """Check that metric names are strings that the history does not use itself."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"the name of a metric must be a string, got {describe(name)}.")
        if name in ("loss", "train_loss") or name.startswith("val_"):
            raise ValueError(
                f"the name of a metric must not be 'loss' or 'train_loss' or begin with 'val_', which the "
                f"history uses, got {name!r}. Rename it."
            )
        if name in ("", "epoch"):
            raise ValueError(
                f"the name of a metric must not be 'epoch', a column of the logs, or empty, got {name!r}. "
                "Rename it."
            )


def results(name: str, values: Any) -> Any:
    """The result of the function called `name`, after a check that it is a pytree of arrays."""
    if values is None:
        raise TypeError(f"{name} must return arrays, got None. Does it end with a return?")
    for path, leaf in jax.tree_util.tree_leaves_with_path(values):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
            raise TypeError(
                f"{name} must return arrays, got {describe(leaf)} at "
                f"{jax.tree_util.keystr(path) or 'the top'}."
            )
    return values


@contextlib.contextmanager
def only_jax(name: str, instead: str) -> Iterator[None]:
    """Replace the errors of a function that needs concrete numbers, such as one of NumPy or `float`.

    Args:
        name: the function.
        instead: what to write for a function that can't be written with JAX.
    """
    try:
        yield
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        reason = "turned into a NumPy array" if "__array__" in str(error) else "used as a Python number"
        raise TypeError(
            f"{name} must be written with jax.numpy, since it is traced: an array was {reason} in it. In "
            f"place of an `if` use jnp.where(condition, a, b). For other functions: {instead}."
        ) from None
    except TypeError as error:
        if "unhashable" not in str(error) or "Tracer" not in str(error):
            raise
        raise TypeError(
            f"{name} must be written with jax.numpy, since it is traced: an array was used as the key of a "
            "dictionary. Index an array: jnp.array([1.0, 10.0])[number]."
        ) from None

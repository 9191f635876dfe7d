"""Trainings: keys, losses, metrics, optimizers, studies."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet._check._values import choice, describe, function


def key(value: Any) -> None:
    """One typed key, as `jax.random.key` makes it."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if value.shape == ():
            return
        raise ValueError(
            f"key is one key; got an array of keys of shape {value.shape}. "
            "For many trainings at once: jax.vmap(train, in_axes=(0, None, 0))(models, data, keys)."
        )
    raise TypeError(
        f"key is a typed JAX key; got {describe(value)}. Try key=jax.random.key(0); "
        "an old-style key becomes one by jax.random.wrap_key_data(key)."
    )


def known_key(what: str, value: Any) -> None:
    """A typed key that can be read, for what works on the host."""
    key(value)
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{what} works on the host, and here its key is traced by jit, vmap or grad. Call it outside, "
            "with a key from jax.random.key(0)."
        )


def transform(name: str, value: Any) -> None:
    """A function of (key, example)."""
    function(name, value, "a function (key, example) -> example")
    try:
        inspect.signature(value).bind(None, None)
    except TypeError:
        raise TypeError(
            f"{name} is a function (key, example) -> example; {getattr(value, '__name__', value)!r} takes "
            "other arguments. Try def transform(key, example): x, y = example; return x + 1, y."
        ) from None


def per_example(name: str, value: Any) -> None:
    """A function of (prediction, target) for one example."""
    function(name, value, "a function (prediction, target) -> scalar")
    shown = getattr(value, "__name__", None) or getattr(getattr(value, "func", value), "__name__", name)
    if getattr(value, "of_all_rows", False):
        raise TypeError(
            f"{name}: {shown} ranks all rows at once, and a metric here is one of each example. Compute it "
            f"from all predictions: fn.metrics.{shown}(fn.predict(model, x), y); of a fold with its "
            "weights too, valid.weights()."
        )
    try:
        inspect.signature(value).bind(None, None)
    except TypeError:
        raise TypeError(
            f"{name} is a function (prediction, target) of one example; {shown} takes other arguments. "
            f"If it has settings, give it those first: {name}={shown}(...) or "
            f"functools.partial({shown}, ...)."
        ) from None


def loss(value: Any) -> None:
    """A function of (model, example, key), or one marked by `losses.batchwise`."""
    function("loss", value, "a function (model, example, key) -> scalar")
    try:
        if not getattr(value, "batchwise", False):
            inspect.signature(value).bind(None, None, None)
    except TypeError:
        raise TypeError(
            f"loss is a function (model, example, key) -> scalar; {getattr(value, '__name__', value)!r} "
            "takes other arguments. Of (prediction, target) make one: funcnet.losses.supervised(f)."
        ) from None


def training(value: Any) -> None:
    """What `fit` makes."""
    if not (callable(value) and hasattr(value, "loss") and hasattr(value, "epochs")):
        raise TypeError(
            f"train is a training; got {describe(value)}. Make one: fn.fit(loss, optax.adam(1e-2), "
            "epochs=20)."
        )


def settings(values: Mapping[str, Any]) -> None:
    """Names, and at least one value for each."""
    for name, choices in dict(values).items():
        if isinstance(choices, str) or not hasattr(choices, "__len__") or not len(choices):
            raise ValueError(
                f"each setting has a list of values; {name} has {describe(choices)}. "
                "Try {'learning_rate': [0.01, 0.1]}."
            )
    if not values:
        raise ValueError("there are no settings to sweep over. Try {'learning_rate': [0.01, 0.1]}.")


def hyperparams(values: Any) -> None:
    """A pytree of floats, or of floating arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(values)
    for path, leaf in leaves:
        if isinstance(leaf, float) or jnp.issubdtype(getattr(leaf, "dtype", int), jnp.floating):
            continue
        raise TypeError(
            f"hyper-parameters are floating; {jax.tree_util.keystr(path) or 'hyper'} is {describe(leaf)}. "
            "Write {'learning_rate': 0.1}; sizes are for fn.study.sweep."
        )
    if not leaves:
        raise ValueError("there are no hyper-parameters. Try {'learning_rate': 0.1}.")


def validation_name(argument: str, name: str) -> None:
    """The name of a value of validation rows."""
    if not name.startswith("val_"):
        raise ValueError(f"{argument} names a value of validation rows, such as 'val_loss'; got {name!r}.")


def validation_value(monitor: str, mode: str) -> None:
    """The name of a value of validation rows, and which way is better."""
    choice("mode", mode, ("min", "max"))
    validation_name("monitor", monitor)
    direction(monitor, mode)


LARGER_IS_BETTER = {"accuracy", "precision", "recall", "f1", "r2", "auc", "top"}


def direction(monitor: str, mode: str) -> None:
    """No minimum of what is better when it is larger, as far as names tell."""
    words = monitor.split("_")
    if mode == "min" and LARGER_IS_BETTER & set(words) and words[-1] not in ("loss", "error"):
        raise ValueError(
            f"{monitor} is better when it is larger, and mode='min' would keep the worst. Write "
            f"mode='max' beside {monitor!r}."
        )


def architecture(value: Any) -> None:
    """A module."""
    if not callable(getattr(value, "init", None)):
        raise TypeError(f"net is a module with an init; got {describe(value)}. Try fn.MLP((4, 16, 3)).")


def optimizer(value: Any) -> None:
    """An optax GradientTransformation."""
    if not (callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))):
        raise TypeError(
            f"optimizer is an optax GradientTransformation; got {describe(value)}. Try optax.adam(1e-2)."
        )


def monitor(name: str, measured: Iterable[str], has_valid: bool) -> None:
    """A name that the history will hold."""
    known = list(measured)
    if name not in known:
        hint = "" if has_valid else " Values of validation rows need them: train(model, data, key, valid)."
        raise ValueError(f"{name!r} is not measured; this training measures {', '.join(known)}.{hint}")


def history_value(name: str, value: Any) -> None:
    """A number for each epoch."""
    if value.shape:
        raise ValueError(
            f"a history holds one number for each epoch, and {name} has shape {value.shape}. Measure it "
            f"after the training: fn.evaluate(loss, run.model, data)[{name.removeprefix('val_')!r}]."
        )


def equal_shapes(what: str, prediction: Any, target: Any) -> None:
    """Prediction and target of one shape: nothing is broadcast in silence."""
    if jnp.shape(prediction) != jnp.shape(target):
        hint = ""
        if jnp.shape(prediction) == (*jnp.shape(target), 1):
            hint = " Give the last layer the size 'scalar' instead of 1, or the target an axis: y[:, None]."
        raise ValueError(
            f"{what} wants a prediction and a target of one shape; got a prediction of shape "
            f"{jnp.shape(prediction)} and a target of shape {jnp.shape(target)} for one example.{hint}"
        )


def same_shape(name: str, value: Any, other: str, like: Any) -> None:
    """An array of another's shape."""
    if jnp.shape(value) != jnp.shape(like):
        raise ValueError(f"{name} has the shape of {other}, {jnp.shape(like)}; got {jnp.shape(value)}.")


def scalar(name: str, value: Any, batch: tuple[int, ...] = ()) -> None:
    """A number for one example: what a batch of examples gives has the shape `batch`."""
    if not hasattr(value, "dtype") and not isinstance(value, int | float | bool):
        raise TypeError(
            f"{name} is a scalar for one example; got {describe(value)}. "
            "Return an array of shape (), or such a scalar and a dictionary of metrics."
        )
    if jnp.shape(value) != batch:
        raise ValueError(
            f"{name} is a scalar for one example; got shape {jnp.shape(value)[len(batch) :]}. "
            "Reduce it, for example with jnp.mean(...): the batch axis is added by funcnet."
        )


def metric_names(names: Iterable[Any]) -> None:
    """Names that the history doesn't use itself."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a metric's name is a string; got {describe(name)}.")
        if name in ("loss", "train_loss") or name.startswith("val_"):
            raise ValueError(
                f"no metric can be called {name!r}: 'loss', 'train_loss' and names that begin with 'val_' "
                "are the history's own. Rename it."
            )

"""Checks of arguments, one verb each. An error says what came, what was wanted, and code that works."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def positive(name: str, value: Any) -> None:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number; got {value!r}. Try {name}=10.")
    if value < 1:
        raise ValueError(f"{name} is at least 1; got {value}. Try {name}=10.")


def not_negative(name: str, value: Any) -> None:
    """An integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number; got {value!r}. Try {name}=0.")
    if value < 0:
        raise ValueError(f"{name} is at least 0; got {value}. Try {name}=0.")


def length(name: str, value: Any, wanted: int) -> None:
    """A tuple of so many entries."""
    if len(value) != wanted:
        raise ValueError(f"{name} has {wanted} entries; got {len(value)}: {value!r}.")


def rank(layer: str, x: Any, least: int, axes: str) -> None:
    """An array with at least so many axes."""
    if jnp.ndim(x) < least:
        raise ValueError(
            f"{layer} wants an input [..., {axes}]; got shape {jnp.shape(x)}. One example has "
            f"{least} axes, channels last: a grey image needs x[..., None], a flat row a reshape."
        )


def above_zero(name: str, value: Any) -> None:
    """A Python number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is a number; got {describe(value)}. Try {name}=1e-5.")
    if not value > 0:
        raise ValueError(f"{name} is above 0; got {value}. Try {name}=1e-5.")


def module(name: str, value: Any) -> None:
    """A module, not a plain function or a class."""
    if not hasattr(value, "_filled") or isinstance(value, type):
        raise TypeError(
            f"{name} is a funcnet module; got {describe(value)}. A function becomes one: "
            "fn.layers.Activation(jax.nn.relu)."
        )


def divides(name: str, value: int, what: str, total: int) -> None:
    """A divisor of a size."""
    if total % value:
        raise ValueError(f"{name}={value} doesn't divide {what}={total}. Choose a divisor.")


def between(name: str, value: Any, low: float, high: float) -> None:
    """A Python number in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is a number; got {type(value).__name__} {value!r}.")
    if not low <= value < high:
        raise ValueError(f"{name} is at least {low} and below {high}; got {value}.")


def boolean(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False; got {describe(value)}.")


def choice(name: str, value: Any, known: Iterable[str]) -> None:
    """One of the known words."""
    words = list(known)
    if value not in words:
        raise ValueError(f"{name}={value!r} is not known. Choose one of: {', '.join(words)}.")


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


def function(name: str, value: Any, wanted: str) -> None:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name} is {wanted}; got {describe(value)}.")


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
        raise ValueError(
            f"stopping monitors {name!r}, and this training measures {', '.join(known)}.{hint}"
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


def floating_dtype(name: str, value: Any) -> Any:
    """A floating dtype that JAX keeps as it is."""
    dtype = jnp.dtype(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} is a floating dtype such as 'float32' or 'bfloat16'; got {dtype.name}.")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{name} is float64: switch it on, jax.config.update('jax_enable_x64', True).")
    return dtype


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


def last_axis(layer: str, x: Any, size: int) -> None:
    """An input whose last axis has the layer's size."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != size:
        raise ValueError(
            f"{layer} wants an input whose last axis is {size}; got shape {shape}. "
            "Let the sizes chain: the output size of a layer is the input size of the next."
        )


def weight(layer: str, value: Any, size: int) -> None:
    """A weight whose first axis is the layer's input size."""
    if jnp.shape(value)[:1] != (size,):
        raise ValueError(f"{layer} holds a weight of shape {jnp.shape(value)}; its first axis is {size}.")


def last_axes(layer: str, x: Any, wanted: tuple[int, ...]) -> None:
    """An input whose last axes have these sizes."""
    shape = jnp.shape(x)
    if shape[-len(wanted) :] != wanted:
        raise ValueError(
            f"{layer} wants an input whose last axes are {wanted}; got shape {shape}. Rows of pixels "
            f"become images by x.reshape(-1, {', '.join(map(str, wanted))})."
        )


def features(fitted: int, x: Any) -> None:
    """Features as many as a scaler was fitted on."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != fitted:
        raise ValueError(
            f"this Scaler was fitted on {fitted} features; got an array of shape {shape}. Pass the same "
            "columns in the same order, [..., features]."
        )


def sizes(name: str, value: Any) -> list[Any]:
    """At least two layer sizes, of which the last may be "scalar"."""
    if isinstance(value, str | int) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is a tuple of layer sizes; got {describe(value)}. Try (4, 16, 3).")
    listed = list(value)
    if len(listed) < 2:
        raise ValueError(
            f"{name} holds the size of the input and of the output at least; got {value}. Try (4, 3)."
        )
    for i, size in enumerate(listed):
        if size != "scalar" or i + 1 < len(listed):
            positive(f"{name}[{i}]", size)
    return listed


def numbers(name: str, value: Any, example: str) -> list[int]:
    """At least one positive whole number, in a tuple."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is a tuple of whole numbers; got {describe(value)}. Try {name}={example}.")
    listed = list(value)
    if not listed:
        raise ValueError(f"{name} is empty. Try {name}={example}.")
    for i, number in enumerate(listed):
        positive(f"{name}[{i}]", number)
    return listed


def layer(name: str, value: Any) -> None:
    """Something that can stand in a Sequential: a module or a function, and no class."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name} of a Sequential is a module or a function; got {describe(value)}. "
            "Try fn.Sequential(fn.Linear(2, 5), jax.nn.relu, fn.Linear(5, 1))."
        )


def floating_parameters(leaves: Mapping[str, Any]) -> None:
    """Parameters that a gradient exists for."""
    for path, leaf in leaves.items():
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            raise TypeError(
                f"the model's leaf {path or 'itself'} is {describe(leaf)}, and a model holds arrays "
                "only. Keep settings in static fields of a funcnet.Module, or outside the model."
            )
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"the parameter {path or 'itself'} holds {dtype}, and no gradient exists for it. "
                "Make it floating: jnp.asarray(value, float); or, if it is no parameter, wrap it: "
                "funcnet.Buffer(value)."
            )


def devices(value: Any) -> None:
    """A sequence of at least one device."""
    if not (isinstance(value, list | tuple) and value and all(hasattr(d, "platform") for d in value)):
        raise TypeError(f"devices is a whole number or a list of jax.devices(); got {describe(value)}.")


def divisible(path: str, value: Any, parts: int) -> None:
    """An array whose leading axis can be cut into equal parts."""
    shape = jnp.shape(value)
    if not shape or shape[0] % parts:
        raise ValueError(
            f"{path or 'the array'} has shape {shape}; its leading axis is to be divided over {parts} "
            "devices."
        )


def not_a_list(name: str, value: Any) -> None:
    """No Python list of numbers or of rows: it would be a pytree of as many scalars."""
    if isinstance(value, list) and value and (isinstance(value[0], list) or np.isscalar(value[0])):
        raise TypeError(
            f"{name} is a Python list, and arrays are wanted: {name.split('[')[0]} = np.asarray(...)."
        )


def data_and_model(model: Any, data: Any) -> None:
    """A model first and data second."""
    if callable(data) or (hasattr(model, "arrays") and hasattr(model, "rows")):
        raise TypeError(
            "a training is called with the model first and the data second; got "
            f"{type(model).__name__} and {type(data).__name__}. Write train(model, data, key)."
        )
    if hasattr(model, "model") and hasattr(model, "state"):
        raise TypeError("a training starts from a model, and a Run came: pass run.model.")


def class_numbers(labels: Any, classes: int) -> None:
    """Integers, and where they can be read, in 0 .. classes-1."""
    values = labels if isinstance(labels, jax.core.Tracer) else np.asarray(labels)
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise TypeError(
            f"labels are class numbers; got {values.dtype}. "
            "For text: names, y = np.unique(labels, return_inverse=True)."
        )
    if isinstance(values, np.ndarray) and values.size and not 0 <= values.min() <= values.max() < classes:
        raise ValueError(
            f"labels run from 0 to {classes - 1} for {classes} classes; "
            f"got {values.min()} to {values.max()}."
        )


def numeric(name: str, value: Any) -> None:
    """An array of numbers or booleans."""
    kind = getattr(value, "dtype", None)
    kind = np.asarray(value).dtype if kind is None else kind
    if isinstance(kind, np.dtype) and kind.kind in "OUSMm":
        raise TypeError(
            f"{name} holds {'text' if kind.kind in 'US' else kind}, and arrays of numbers are wanted. "
            "For text labels: classes, y = np.unique(labels, return_inverse=True)."
        )
    narrow = jnp.asarray(0).dtype.itemsize == 4  # unless jax_enable_x64 is set
    if narrow and isinstance(value, np.ndarray) and kind.itemsize > 4 and kind.kind in "iu":
        limits = np.iinfo(np.int32)
        if value.size and (value.min() < limits.min or value.max() > limits.max):
            raise ValueError(
                f"{name} holds whole numbers up to {value.max()}, and JAX keeps 32 bits. As features make "
                "them floating: x.astype(float); as labels number them from 0."
            )


def finite(name: str, values: Any) -> None:
    """Concrete floating values without a NaN or an infinity."""
    bad = ~np.isfinite(values)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise ValueError(
            f"{name} holds {values[place]} at {list(place)}; {rows} of {len(bad)} rows hold a NaN or "
            "an infinity. Drop those rows or fill them in: keep = np.isfinite(x).all(axis=1)."
        )


def weights(values: np.ndarray) -> None:
    """Concrete weights: finite, none negative, not all zero."""
    finite("weight", values)
    if (values < 0).any():
        row = int(np.argwhere(values < 0)[0][0])
        raise ValueError(f"a weight is at least 0; row {row} holds {values[row]}.")
    if not values.any():
        raise ValueError("all weights are zero, so no row counts. Give at least one row a weight.")


def row_dtype(rows: Any) -> None:
    """Whole numbers, no mask and no fractions."""
    dtype = np.asarray(rows).dtype if not hasattr(rows, "dtype") else rows.dtype
    if not jnp.issubdtype(dtype, jnp.integer) and np.size(rows):
        raise TypeError(f"row numbers are whole numbers; got {dtype}. For a mask: np.flatnonzero(mask).")


def row_numbers(rows: Any, n: int) -> None:
    """Concrete row numbers in 0 .. n-1, at least one."""
    values = np.asarray(rows)
    if values.size == 0:
        raise ValueError("the table is empty: a view has at least one row; got 0.")
    if values.min() < 0 or values.max() >= n:
        raise ValueError(
            f"row numbers run from 0 to {n - 1}; got {int(values.min())} to {int(values.max())}."
        )


def probabilities(what: str, targets: Any) -> None:
    """Concrete rows of probabilities: none negative, adding up to 1."""
    values = np.asarray(targets)
    wrong = (values < 0).any(axis=-1) | (np.abs(values.sum(axis=-1) - 1) > 1e-3)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(
            f"{what} wants floating targets of the logits' shape to be probabilities that add up to 1; row "
            f"{row} holds {values[row].tolist()}. For class numbers: y.astype(int), without the last axis."
        )


def targets_between(what: str, targets: Any, low: int, high: int) -> None:
    """Concrete targets in low .. high, ends included."""
    values = np.asarray(targets)
    outside = (values < low) | (values > high)
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        extra = (
            f"the model gives {high + 1} logits: give its last layer one output for each class, or "
            "number the classes from 0"
            if what == "cross_entropy"
            else "encode the two classes as 0 and 1, or use cross_entropy for more"
        )
        raise ValueError(
            f"{what} wants targets from {low} to {high}; row {row} holds {values[row]} "
            f"({int(outside.sum())} of {outside.size} lie outside). Here {extra}."
        )


def describe(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"

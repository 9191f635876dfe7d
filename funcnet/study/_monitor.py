"""What goes on inside a network while it is trained: by layer, at each evaluation."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import Module, modules, observe_calls, trainable
from funcnet._sow import batch_weight, sow
from funcnet._types import Array, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.layers import Activation
from funcnet.layers._dtype import wide
from funcnet.train import TrainState
from funcnet.train._evaluate import checked_data
from funcnet.train._fit import Fit
from funcnet.transform._jaxpr import called
from funcnet.transform._objective import objective
from funcnet.transform._reap import reap

WHAT = ("activation", "saturation", "dead", "gradient", "update")
QUANTITIES = {
    "activation_mean": ("outputs: mean", "layer's own units"),
    "activation_std": ("outputs: standard deviation", "layer's own units"),
    "saturation": ("saturation: flat for a row", "share of entries"),
    "dead": ("dead: flat for every row", "share of units"),
    "gradient": ("gradient: root mean square", "loss / weight"),
    "update": ("update over weights", "ratio of norms"),
}
"""What is measured, by the first part of its name in a history: what it is, and its unit."""

FLAT = 0.01
"""An activation function is flat where its slope is smaller."""

INSIDE = {"activation", "saturation", "dead"}
"""What is seen from inside of a model; gradients and updates are seen from outside."""

_OURS = "monitor: "


def quantity_of(name: str) -> str | None:
    """What a name in a history is a measurement of; None for a loss or a metric."""
    quantity, slash, _ = name.partition("/")
    return quantity if slash and quantity in QUANTITIES else None


def monitor(train: Fit, what: Sequence[str] = WHAT, *, rows: int = 256, data: PyTree = None) -> Fit:
    """The same training, which also writes into its history what goes on in each layer.

    Every evaluation looks at the same rows, in inference mode, with the weights of that moment; the
    trained numbers are those of `train`. It is a training like any other: compile it, map it over
    starts, give it to a `Trainer` or to `ensemble`, stop early. `funcnet.report.layers` draws what
    it found. An evaluation costs a gradient over these rows more.

    Names in the history are a quantity and a place, such as "gradient/layers[0].weight":

    - "activation": "activation_mean" and "activation_std" of the outputs, over rows and units, of each
      module that holds no other; in the units of that layer.
    - "saturation": of each elementwise activation function, the share of entries where its slope is below
      0.01 in size: the flat ends of tanh, the zero half of relu.
    - "dead": the share of its units, entries of the last axis, that are flat so for every row.
    - "gradient": of each parameter, the root mean square of the loss's gradient over these rows.
    - "update": of each parameter, the norm of the update that the optimizer would make of this gradient,
      divided by the norm of the parameter; NaN where that is zero.

    Modules are known by their path in the model, and activation functions by their name and number in
    the order of calls: "relu 1"; where a part of a model is compiled, mapped or rebuilt by itself, modules
    are known by their class and number, too. A function that is called by itself, outside of the layers
    and models of funcnet, is not seen: put `funcnet.layers.Activation(function)` in its place. Rows of
    weight zero play no part; of a loss made by `losses.batchwise` all rows count alike.

    Args:
        train: what `fn.fit` made.
        what: some of "activation", "saturation", "dead", "gradient" and "update".
        rows: how many of the first training rows are looked at, at least 1.
        data: rows to look at in place of these, as a Dataset or a tuple of arrays [n, ...]; wanted for a
            stream, whose rows are not kept. All of them are used.

    Returns:
        A training function, as `fn.fit` makes it.

    Raises:
        TypeError: if `train` is none.
        ValueError: if a word is unknown, `rows` below 1, or `train` monitored already; in the call, if a
            stream comes without `data`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.01), epochs=5)
        >>> model = fn.MLP((1, 8, "scalar")).init(jax.random.key(0))
        >>> run = fn.study.monitor(train, ["gradient", "dead"])(model, (x, x[:, 0]), jax.random.key(1))
        >>> [name for name in run.history if "/" in name][:2]
        ['dead/relu 1', 'gradient/layers[0].bias']
        >>> run.history["dead/relu 1"].shape
        (5,)

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.
    """
    if not isinstance(train, Fit):
        raise TypeError(
            f"monitor takes what fn.fit made; got {_check.describe(train)}. Try "
            "fn.study.monitor(fn.fit(loss, optax.adam(1e-3), epochs=10))."
        )
    if train.watch is not None:
        raise ValueError("this training is monitored already: pass all words at once, or none for all.")
    words = () if isinstance(what, str) else tuple(what)
    if not words:
        raise ValueError(f"what is a list of words; got {what!r}. Try what=['gradient'].")
    for word in words:
        _check.choice("what", word, WHAT)
    _check.positive("rows", rows)
    return dataclasses.replace(train, watch=functools.partial(_looked, train, frozenset(words), rows, data))


def _looked(
    train: Fit, what: frozenset[str], rows: int, given: PyTree, state: TrainState, data: Dataset | None
) -> dict[str, Array]:
    """All that is measured of this state, by name."""
    if given is not None:
        data = checked_data(train.loss, state.model, given)
    if data is None:
        raise ValueError(
            "a stream keeps no rows to look at. Pass some: fn.study.monitor(train, data=(x[:99], y[:99]))."
        )
    count = len(data) if given is not None else min(rows, len(data))
    batch = batch_of(data, None, count)
    parameters, rest = _tree.partition(state.model, trainable(state.model))

    def value(parameters: PyTree) -> Array:
        if not what & INSIDE:
            return objective(parameters, rest, train.loss, batch, None)[0]
        names = _Names(_tree.combine(parameters, rest))
        with observe_calls(functools.partial(_mark, what, names)):
            return objective(parameters, rest, train.loss, batch, None)[0]

    try:
        (loss, sown), gradient = jax.value_and_grad(reap(value), has_aux=True)(parameters)
    except (ValueError, jax.errors.UnexpectedTracerError) as error:
        if isinstance(error, ValueError) and _OURS not in str(error):
            raise
        raise ValueError(
            "a part of this model is compiled by itself, with jax.jit or jax.checkpoint in the loss, and "
            "can't be looked into: its calls are traced once. Monitor without it (`fit` compiles all), or "
            "only what=['gradient', 'update']."
        ) from error
    found: dict[str, Array] = {}
    for name, sums in sown.items():
        if name.startswith(_OURS):
            quantity, _, place = name.removeprefix(_OURS).partition("/")
            found |= _settled(quantity, place, sums)
    if "gradient" in what:
        found |= _by_leaf("gradient", gradient, _root_mean_square)
    if "update" in what:
        update = optax.with_extra_args_support(train.optimizer).update
        again = lambda p: objective(p, rest, train.loss, batch, None)[0]  # noqa: E731
        updates, _ = update(
            gradient, state.opt_state, parameters, value=loss, grad=gradient, value_fn=again
        )
        found |= _by_leaf("update", jax.tree.map(_ratio, updates, parameters), lambda ratio: ratio)
    return found


def _mark(
    what: frozenset[str], names: "_Names", module: Module, args: Any, named: Any, output: Any
) -> None:
    """Sow what a call comes to, each example by itself: those of weight zero play no part."""
    x: Any = next(iter((*args, *named.values())), None)
    if len(modules(module)) > 1 or output is x:  # a dropout in inference does nothing
        return
    name, weight = names(module), batch_weight()
    counts = jnp.array(True) if weight is None else weight > 0
    leaves = [a for a in jax.tree.leaves(output) if jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    for i, leaf in enumerate(leaves if "activation" in what else ()):
        place = f"{name}[{i}]" if len(leaves) > 1 else name
        sow(_moments(wide(leaf), counts), f"{_OURS}activation/{place}")
    if isinstance(module, Activation) and _is_elementwise(module.function, x):
        flat = jnp.abs(jax.jvp(module.function, (x,), (jnp.ones_like(x),))[1]) < FLAT
        if "saturation" in what:
            sow(_moments(flat.astype(float), counts), f"{_OURS}saturation/{name}")
        if "dead" in what and jnp.ndim(x):
            alive = jnp.any(~flat, axis=tuple(range(jnp.ndim(x) - 1)))
            sow((alive & counts).astype(float), f"{_OURS}dead/{name}")


def _moments(x: Array, counts: Array) -> dict[str, Array]:
    """Entries, their mean, and their squared distances from it; nothing where the example doesn't count."""
    mean = jnp.mean(x)
    # Made of x, so that all have the same axes in front when the call is mapped or in a loop.
    entries = jnp.sum(jnp.where(x == x, jnp.ones_like(x), jnp.ones_like(x)))
    found = {"entries": entries, "mean": mean, "away": jnp.sum(jnp.square(x - mean))}
    return jax.tree.map(lambda a: jnp.where(counts, a, jnp.zeros_like(a)), found)


def _settled(quantity: str, place: str, found: Any) -> dict[str, Array]:
    """The statistics over all calls, whatever axes loops and maps have put in front."""
    if quantity == "dead":
        alive = jnp.max(found.reshape(-1, found.shape[-1]), axis=0)
        return {f"dead/{place}": jnp.mean(1 - alive)}
    entries, means = found["entries"], found["mean"]
    mean = jnp.sum(entries * means) / jnp.sum(entries)
    if quantity == "saturation":
        return {f"saturation/{place}": mean}
    between = entries * jnp.square(means - jnp.broadcast_to(mean, means.shape))
    spread = jnp.sqrt(jnp.sum(found["away"] + between) / jnp.sum(entries))
    return {f"activation_mean/{place}": mean, f"activation_std/{place}": spread}


def _by_leaf(quantity: str, tree: PyTree, of: Callable[[Array], Array]) -> dict[str, Array]:
    return {f"{quantity}/{path.lstrip('.')}": of(leaf) for path, leaf in _tree.paths(tree).items()}


def _root_mean_square(x: Array) -> Array:
    x = jnp.abs(wide(x))
    largest = jnp.max(x, initial=0)  # the square of 1e-25 is 0 in float32
    scaled = x / jnp.broadcast_to(jnp.where(largest > 0, largest, 1), x.shape)
    return largest * jnp.sqrt(jnp.mean(jnp.square(scaled)))


def _ratio(update: Array, weight: Array) -> Array:
    """NaN for weights that are all zero, as biases are in the beginning."""
    size = _root_mean_square(weight)
    nothing = jnp.full_like(size, jnp.nan)
    return jnp.where(size > 0, _root_mean_square(update) / jnp.where(size > 0, size, 1), nothing)


class _Names:
    """What the modules of a model are called, in the order of their calls while it is traced."""

    def __init__(self, model: PyTree) -> None:
        self.paths = {_identity(m): path for path, m in modules(model).items() if jax.tree.leaves(m)}
        self.calls: collections.Counter[str] = collections.Counter()

    def __call__(self, module: Module) -> str:
        path = self.paths.get(_identity(module))
        kind = getattr(getattr(module, "function", None), "__name__", type(module).__name__)
        name = path or kind
        self.calls[name] += 1
        number = self.calls[name]
        return name if path and number == 1 else f"{name} {number}"


def _identity(module: Module) -> tuple[str, tuple[int, ...]]:
    # Trees are rebuilt on their way into a loss, and the arrays in them stay the same objects.
    return type(module).__name__, tuple(map(id, jax.tree.leaves(module)))


def _is_elementwise(function: Callable[[Array], Array], x: Any) -> bool:
    """Whether each entry of the result is made of one entry of x, as the program shows."""
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return False
    program = jax.make_jaxpr(function)(x)
    return [out.shape for out in program.out_avals] == [jnp.shape(x)] and _keeps(
        program.jaxpr, jnp.shape(x)
    )


def _keeps(jaxpr: Any, shape: tuple[int, ...]) -> bool:
    """Whether nothing in a program has another shape, but for numbers."""
    for equation in jaxpr.eqns:
        inside = called(equation)
        if inside is not None and not _keeps(inside[0], shape):
            return False
        mixes = equation.primitive.name.startswith(("reduce", "arg", "cum", "sort", "dot", "rev"))
        if mixes or any(out.aval.shape not in (shape, ()) for out in equation.outvars):
            return False
    return True

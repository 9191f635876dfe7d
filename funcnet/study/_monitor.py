"""Statistics of each layer at each evaluation: activations, gradients and updates."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._module import Module, modules, observe_calls, trainable
from funcnet._sow import batch_weight, sow
from funcnet._types import Array, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import batch_of
from funcnet.layers import Activation
from funcnet.layers._dtype import wide
from funcnet.train import TrainState
from funcnet.train._evaluate import check_data
from funcnet.train._fit import Fit
from funcnet.train._optimizer import aggregates_examples, extra_arguments, update_optimizer
from funcnet.transform._jaxpr import equations
from funcnet.transform._objective import objective
from funcnet.transform._reap import reap

ALL = ("activation", "saturation", "dead", "gradient", "update")
FLAT = 0.01
"""An activation function is flat where the absolute value of its derivative is below this."""

FROM_ACTIVATIONS = {"activation", "saturation", "dead"}
"""Quantities that are measured inside a model; gradients and updates need its parameters only."""

_PREFIX = "monitor: "


def monitor(train: Fit, quantities: Sequence[str] = ALL, *, rows: int = 256, data: PyTree = None) -> Fit:
    """The same training function, which also adds statistics of each layer to the history.

    Every evaluation uses the same rows, in inference mode, with the current weights; the trained weights
    are those of `train`. The result is an ordinary training function: it works under jit and vmap, in a
    `Trainer` or an `ensemble`, and with early stopping. `funcnet.report.layers` draws the statistics. Each
    evaluation costs one additional gradient over these rows.

    Names in the history are a quantity and a path, such as "gradient/layers[0].weight":

    - "activation": "activation_mean" and "activation_std" of the outputs, over rows and units, of each
      module that contains no other module; in the units of that layer.
    - "saturation": for each elementwise activation function, the share of entries where the absolute value
      of its derivative is below 0.01: the flat ends of tanh, the zero half of relu.
    - "dead": the share of its units, entries of the last axis, that are flat in this sense for every row.
    - "gradient": for each parameter, the root mean square of the gradient of the loss over these rows.
    - "update": for each parameter, the norm of the update that the optimizer computes from this gradient,
      divided by the norm of the parameter; infinite where that is zero, and 0 where both are.

    Modules are named by their path in the model, and activation functions by their name and their number
    in the order of calls: "relu 1". If a part of a model is compiled, mapped or rebuilt, its modules are
    named by class and number, too. A function that is called directly, outside of the layers and models
    of funcnet, is not monitored: use `funcnet.layers.Activation(function)` instead. Rows of weight zero are
    ignored; with a loss from `losses.batchwise` all rows have equal weight.

    Args:
        train: a training function, from `fn.fit`.
        quantities: some of "activation", "saturation", "dead", "gradient" and "update".
        rows: the number of training rows to use, starting with the first, at least 1.
        data: other rows to use, as a Dataset or a tuple of arrays [n, ...]; required for a stream, whose
            rows are not kept. All of them are used.

    Returns:
        A training function.

    Raises:
        TypeError: if `train` is not a training function from `fn.fit`.
        ValueError: if a quantity is unknown, `rows` below 1, or `train` is monitored already; in the call,
            for a stream without `data`.

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
            f"train must be a training function from fn.fit, got {_check.describe(train)}. Try "
            "fn.study.monitor(fn.fit(loss, optax.adam(1e-3), epochs=10))."
        )
    if train._probe is not None:
        raise ValueError(
            "train is already monitored. Pass all quantities in one call: "
            "fn.study.monitor(train, ['gradient', 'update'])."
        )
    is_scalar = isinstance(quantities, str) or getattr(quantities, "shape", None) == ()
    names = () if is_scalar or not isinstance(quantities, Iterable) else tuple(quantities)
    if not names:
        raise ValueError(
            f"quantities must be a list of names, got {quantities!r}. Try quantities=['gradient']."
        )
    for name in names:
        _check.choice("quantities", name, ALL)
    rows = _check.count("rows", rows)
    probe = functools.partial(_measure, train, frozenset(names), rows, data)
    return dataclasses.replace(train, _probe=probe)


def _measure(
    train: Fit,
    quantities: frozenset[str],
    rows: int,
    own_data: PyTree,
    optimizer: Any,
    state: TrainState,
    data: Dataset | None,
) -> dict[str, Array]:
    """All statistics of this state, by name; `optimizer` is that of the run, whose steps are known."""
    if own_data is not None:
        data = check_data(train.loss, state.model, own_data)
    if data is None:
        raise ValueError(
            "data is required for a stream, whose rows are not kept. Try "
            "fn.study.monitor(train, data=(x[:99], y[:99]))."
        )
    count = len(data) if own_data is not None else min(rows, len(data))
    batch = batch_of(data, None, count)
    parameters, rest = _tree.partition(state.model, trainable(state.model))

    def value(parameters: PyTree) -> Array:
        if not quantities & FROM_ACTIVATIONS:
            return objective(parameters, rest, train.loss, batch, None)[0]
        names = _Names(_tree.combine(parameters, rest))
        with observe_calls(functools.partial(_sow_statistics, quantities, names)):
            return objective(parameters, rest, train.loss, batch, None)[0]

    try:
        (loss, sown), gradient = jax.value_and_grad(reap(value), has_aux=True)(parameters)
    except (ValueError, jax.errors.UnexpectedTracerError) as error:
        if isinstance(error, ValueError) and _PREFIX not in str(error):
            raise
        raise ValueError(
            "a part of this model is compiled separately, by jax.jit or jax.checkpoint in the loss, so its "
            "activations can't be monitored. Remove that (`fit` compiles everything), or monitor only "
            "quantities=['gradient', 'update']."
        ) from error
    statistics: dict[str, Array] = {}
    for name, sums in sown.items():
        if name.startswith(_PREFIX):
            quantity, _, path = name.removeprefix(_PREFIX).partition("/")
            statistics |= _aggregate(quantity, path, sums)
    if "gradient" in quantities:
        statistics |= _by_leaf("gradient", gradient, _root_mean_square)
    if "update" in quantities:
        if aggregates_examples(state.opt_state):
            raise ValueError(
                "quantities must not contain 'update' for an optimizer that aggregates per-example "
                "gradients, such as optax.contrib.dpsgd. Try quantities=['activation', 'gradient']."
            )
        value_fn = lambda p: objective(p, rest, train.loss, batch, None)[0]  # noqa: E731
        extra = extra_arguments(loss, gradient, value_fn)
        updates, _ = update_optimizer(optimizer, gradient, state.opt_state, parameters, extra)
        statistics |= _by_leaf("update", jax.tree.map(_ratio, updates, parameters), lambda ratio: ratio)
    return statistics


def _sow_statistics(
    quantities: frozenset[str], names: "_Names", module: Module, args: Any, kwargs: Any, output: Any
) -> None:
    """Sow the statistics of one call on one example; nothing for examples of weight zero."""
    x: Any = next(iter((*args, *kwargs.values())), None)
    if len(modules(module)) > 1 or output is x:  # dropout in inference mode returns its input
        return
    name, weight = names(module), batch_weight()
    has_weight = jnp.array(True) if weight is None or weight.ndim else weight > 0
    leaves = [a for a in jax.tree.leaves(output) if jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    for i, leaf in enumerate(leaves if "activation" in quantities else ()):
        path = f"{name}[{i}]" if len(leaves) > 1 else name
        sow(_moments(wide(leaf), has_weight), f"{_PREFIX}activation/{path}")
    if isinstance(module, Activation) and _is_elementwise(module.function, x):
        flat = jnp.abs(jax.jvp(module.function, (x,), (jnp.ones_like(x),))[1]) < FLAT
        if "saturation" in quantities:
            sow(_moments(flat.astype(float), has_weight), f"{_PREFIX}saturation/{name}")
        if "dead" in quantities and jnp.ndim(x):
            alive = jnp.any(~flat, axis=tuple(range(jnp.ndim(x) - 1)))
            sow((alive & has_weight).astype(float), f"{_PREFIX}dead/{name}")


def _moments(x: Array, has_weight: Array) -> dict[str, Array]:
    """Number, mean and squared deviations of the entries; zeros for examples of weight zero."""
    mean = jnp.mean(x)
    # Computed from x, so that all have the same leading axes if the call is mapped or in a loop.
    count = jnp.sum(jnp.where(x == x, jnp.ones_like(x), jnp.ones_like(x)))
    moments = {"count": count, "mean": mean, "squared_deviations": jnp.sum(jnp.square(x - mean))}
    return jax.tree.map(lambda a: jnp.where(has_weight, a, jnp.zeros_like(a)), moments)


def _aggregate(quantity: str, path: str, sown: Any) -> dict[str, Array]:
    """The statistics over all calls, with any leading axes from loops and maps."""
    if quantity == "dead":
        alive = jnp.max(sown.reshape(-1, sown.shape[-1]), axis=0)
        return {f"dead/{path}": jnp.mean(1 - alive)}
    counts, means = sown["count"], sown["mean"]
    mean = jnp.sum(counts * means) / jnp.sum(counts)
    if quantity == "saturation":
        return {f"saturation/{path}": mean}
    between = counts * jnp.square(means - jnp.broadcast_to(mean, means.shape))
    std = jnp.sqrt(jnp.sum(sown["squared_deviations"] + between) / jnp.sum(counts))
    return {f"activation_mean/{path}": mean, f"activation_std/{path}": std}


def _by_leaf(quantity: str, tree: PyTree, f: Callable[[Array], Array]) -> dict[str, Array]:
    return {f"{quantity}/{path.lstrip('.')}": f(leaf) for path, leaf in _tree.paths(tree).items()}


def _root_mean_square(x: Array) -> Array:
    x = jnp.abs(wide(x))
    largest = jnp.max(x, initial=0)  # the square of 1e-25 is 0 in float32
    scaled = x / jnp.broadcast_to(jnp.where(largest > 0, largest, 1), x.shape)
    return largest * jnp.sqrt(jnp.mean(jnp.square(scaled)))


def _ratio(update: Array, weight: Array) -> Array:
    """The ratio of norms; for weights that are all zero, such as initial biases, infinite or 0."""
    change, size = _root_mean_square(update), _root_mean_square(weight)
    # Not 0 / 0, whose NaN jax_debug_nans would raise.
    of_zeros = jnp.where(change > 0, jnp.full_like(size, jnp.inf), jnp.zeros_like(size))
    return jnp.where(size > 0, change / jnp.where(size > 0, size, 1), of_zeros)


class _Names:
    """The names of the modules of a model, in the order of their calls while it is traced."""

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
    # Trees are rebuilt before they reach the loss, but the arrays in them stay the same objects.
    return type(module).__name__, tuple(map(id, jax.tree.leaves(module)))


def _is_elementwise(function: Callable[[Array], Array], x: Any) -> bool:
    """Whether the jaxpr computes each entry of the result from one entry of x."""
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return False
    program, shape = jax.make_jaxpr(function)(x), jnp.shape(x)
    return [out.shape for out in program.out_avals] == [shape] and not any(
        equation.primitive.name.startswith(("reduce", "arg", "cum", "sort", "dot", "rev"))
        or any(getattr(out.aval, "shape", None) not in (shape, ()) for out in equation.outvars)
        for equation in equations(program.jaxpr)
    )

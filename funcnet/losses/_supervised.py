import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._metric import Metric, WholeMetric, join_values, promote_to_float32, whole
from funcnet._module import call
from funcnet._sow import calling_once
from funcnet._types import Key, Loss, PerExample, PyTree
from funcnet.losses._class_weight import check_classes, class_weights, weight_of_class
from funcnet.losses._targets import check_targets
from funcnet.losses._weighted import UNWEIGHTED, weight_loss

EXAMPLE = "fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)"


@_check.usage(EXAMPLE)
def supervised(
    per_example_loss: PerExample | Mapping[str, PerExample],
    *,
    shares: Mapping[str, Any] | None = None,
    class_weight: Any = None,
    **metrics: Any,
) -> Loss:
    """The loss of a model on one example (x, y): `per_example_loss(model(x), y)`.

    Args:
        per_example_loss: `(prediction, target) -> scalar`, such as `squared_error`; or for several heads a
            dictionary of them. Then output and target are dictionaries with the same names, and the history
            holds the loss and the metrics of each head by name, such as `priority_loss`.
        shares: the factors of the heads' losses in the sum that is minimized, by name, at least 0; 1 each
            by default. They may be traced.
        class_weight: weights of the classes in the loss, {0: 1.0, 1: 10.0} or [classes]; 1 for classes not
            named; they may be traced. The loss is then mean(w·loss) as in Keras, which is not divided by
            Σw, and the history also holds `unweighted_loss`; metrics are not weighted. For heads a
            dictionary of such weights by name.
        **metrics: functions of the same kind; a `fn.metrics.Metric` such as `fn.metrics.f1()`; or a metric
            of all rows at once, such as `fn.metrics.roc_auc` or `fn.metrics.whole(f)`, which is computed
            in evaluations. Their values are logged by name. For heads also a dictionary of them by name; a
            single one applies to each head.

    Returns:
        `loss(model, example, key) -> (scalar, {name: scalar})`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if an argument is not a function of a prediction and a target; in training, before
            compilation, if the model can't be called, or has a layer that needs a key and does not take
            one.
        ValueError: if the history itself uses the name of a metric, or a weight or a share is negative; in
            training, if the targets are not valid for the loss, a class has no weight, or the names of
            output, targets and losses differ.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error, error=fn.metrics.absolute_error)
        >>> value, logged = loss(lambda x: 2 * x, (jnp.array(1.0), jnp.array(5.0)), None)
        >>> float(value), float(logged["error"])
        (9.0, 3.0)
        >>> heads = {"size": fn.losses.squared_error, "sign": fn.losses.binary_cross_entropy}
        >>> loss = fn.losses.supervised(heads, shares={"size": 1.0, "sign": 0.2})
        >>> example = (jnp.array(0.0), {"size": jnp.array(2.0), "sign": jnp.array(1)})
        >>> value, logged = loss(lambda x: {"size": x, "sign": x}, example, None)
        >>> {name: round(float(v), 4) for name, v in {"loss": value, **logged}.items()}
        {'loss': 4.1386, 'sign_loss': 0.6931, 'size_loss': 4.0}
    """
    # Settings of Keras that would be taken for metrics of this name.
    settings: Any = {name: metrics[name] for name in ("loss_weights", "metrics") if name in metrics}
    _check.refuse_settings("supervised", settings, EXAMPLE)
    if isinstance(per_example_loss, Mapping):
        return _loss_of_heads(per_example_loss, shares, class_weight, metrics)
    if shares is not None:
        raise ValueError(
            "shares are those of several heads, got shares for one loss. Try supervised({'priority': "
            "fn.losses.binary_cross_entropy, 'department': fn.losses.cross_entropy}, shares=...)."
        )
    head = _head("per_example_loss", per_example_loss, class_weight, metrics)

    @_check.usage("loss(model, (x, y), key)")
    def loss(model: Any, example: PyTree, key: Key | None) -> tuple[Any, dict[str, Any]]:
        x, y = _pair(example)
        with calling_once():
            prediction = call(model, x, key)
        return head(prediction, y)

    loss.check = functools.partial(_check_pairs, head)  # type: ignore[attr-defined]
    return loss


class _Head(NamedTuple):
    """The loss and the metrics of one prediction and its target."""

    loss: PerExample
    class_weight: Any
    metrics: dict[str, Any]

    def __call__(self, prediction: Any, target: Any) -> tuple[Any, dict[str, Any]]:
        value = self.loss(prediction, target)
        metrics = {name: metric(prediction, target) for name, metric in self.metrics.items()}
        if self.class_weight is None:
            return value, metrics
        _check.scalar("the loss", value)
        weight = weight_of_class(self.class_weight, target)
        return weight_loss(value, weight), {**metrics, UNWEIGHTED: value}

    def check(self, targets: Any, output_shape: Any) -> None:
        """Check that concrete targets are valid for the loss and its class weights."""
        loss: Any = self.loss
        while isinstance(loss, functools.partial):
            loss = loss.func
        check_targets(loss, targets, output_shape)
        if self.class_weight is not None:
            check_classes(self.class_weight, targets, self._num_classes(loss, output_shape))

    def _num_classes(self, loss: Any, output_shape: Any) -> int | None:
        """The number of classes that one of our losses tells apart; None for others."""
        shape = output_shape() if getattr(loss, "__module__", "").startswith("funcnet.") else None
        return None if shape is None or len(shape) > 1 else max([2, *shape])


def _head(name: str, loss: Any, class_weight: Any, metrics: Mapping[str, Any]) -> _Head:
    if isinstance(loss, Metric | WholeMetric):
        raise TypeError(
            f"{name} must be a function of one example, got {loss}, which is computed from all examples: "
            "it can be measured but not minimized. Pass it as a metric: "
            "supervised(fn.losses.squared_error, rmse=fn.metrics.rmse())."
        )
    _check.per_example(name, loss)
    metrics = {key: whole(f) if getattr(f, "of_all_rows", False) else f for key, f in metrics.items()}
    for metric_name, metric in metrics.items():
        _check.per_example(metric_name, metric)
    _check.metric_names(metrics)
    if class_weight is not None:
        class_weight = class_weights(class_weight)
        if UNWEIGHTED in metrics:
            raise ValueError(f"a metric beside class_weight must not be named {UNWEIGHTED!r}. Rename it.")
    return _Head(loss, class_weight, metrics)


def _loss_of_heads(
    losses: Mapping[str, Any], shares: Any, class_weight: Any, metrics: Mapping[str, Any]
) -> Loss:
    """The sum of the losses of several heads, each times its share."""
    if not losses or not all(isinstance(name, str) for name in losses):
        raise TypeError(
            "per_example_loss must be a loss, or a dictionary of losses by the name of the head, got "
            f"{_check.describe(losses)}. Try {{'priority': fn.losses.binary_cross_entropy}}."
        )
    names = sorted(losses)
    factors = dict.fromkeys(names, 1.0) if shares is None else shares
    _check_names("shares", factors, names)
    for name, share in factors.items():
        _check.setting(f"shares[{name!r}]", share, 0, float("inf"), low_included=True)
    of_classes = {} if class_weight is None else class_weight
    by_head = {key: metric for key, metric in metrics.items() if isinstance(metric, Mapping)}
    for argument, given in {"class_weight": of_classes, **by_head}.items():
        if not isinstance(given, Mapping) or not given.keys() <= losses.keys():
            raise ValueError(
                f"{argument} must be a dictionary by the name of the head ({', '.join(names)}), got "
                f"{_check.describe(given)}."
            )

    def metrics_of(name: str) -> dict[str, Any]:
        return {
            key: metric[name] if key in by_head else metric
            for key, metric in metrics.items()
            if key not in by_head or name in metric
        }

    heads = {
        name: _head(f"the loss of {name!r}", losses[name], of_classes.get(name), metrics_of(name))
        for name in names
    }

    @_check.usage("loss(model, (x, y), key)")
    def loss(model: Any, example: PyTree, key: Key | None) -> tuple[Any, dict[str, Any]]:
        x, y = _pair(example)
        with calling_once():
            output = call(model, x, key)
        _check_names("the output of the model", output, names)
        _check_names("the targets", y, names)
        total: Any = 0.0
        logged: dict[str, Any] = {}
        for name, head in heads.items():
            value, values = head(output[name], y[name])
            _check.scalar(f"the loss of {name!r}", value)
            value = promote_to_float32(value)
            total += value * jnp.asarray(factors[name], value.dtype)
            logged = join_values(logged, name, {"loss": value, **values})
        return total, logged

    loss.check = functools.partial(_check_pairs, heads)  # type: ignore[attr-defined]
    _check.metric_names(f"{n}_{key}" for n, head in heads.items() for key in ("loss", *head.metrics))
    return loss


def _check_names(what: str, values: Any, names: list[str]) -> None:
    """Check that values are a dictionary with a value for each head and no other."""
    if not isinstance(values, Mapping) or sorted(map(str, values)) != names:
        got = ", ".join(map(str, values)) if isinstance(values, Mapping) else _check.describe(values)
        raise ValueError(
            f"{what} must be a dictionary with one value for each head ({', '.join(names)}), got {got}."
        )


def _pair(example: PyTree) -> tuple[Any, Any]:
    if not (isinstance(example, tuple | list) and len(example) == 2):
        raise ValueError(
            "a batch for a supervised loss must hold examples (x, y), got an example that is "
            f"{_check.describe(example)}. Pass (x, y): loss(model, (x, y), key)."
        )
    x, y = example
    return x, y


def _check_pairs(head: _Head | dict[str, _Head], model: Any, examples: PyTree) -> None:
    """Check that concrete targets are valid for the loss; `examples` have a leading axis."""
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(
            f"data of a supervised loss must be examples (x, y), got {type(examples).__name__} of "
            f"{len(jax.tree.leaves(examples))} arrays. Pass data=(x, y), or of a frame with a column y, "
            "data=fn.data.load(frame, target='y').data."
        )
    x, y = examples
    if not jax.tree.leaves(x):
        raise ValueError("data of a supervised loss must be examples (x, y), got x=None. Pass data=(x, y).")
    if not jax.tree.leaves(y):
        raise ValueError("data of a supervised loss must be examples (x, y), got y=None. Pass data=(x, y).")
    if not _tree.is_concrete(y):
        return
    leaves, structure = jax.tree.flatten((model, x))
    shapes = tuple((a.shape, a.dtype) for a in leaves)
    shape = functools.partial(_output_shape, structure, len(jax.tree.leaves(x)), shapes)
    if isinstance(head, _Head):
        head.check(y, functools.partial(_one_shape, shape))
        return
    _check_names("the targets", y, sorted(head))
    output = shape()
    is_array = isinstance(output, tuple) and all(isinstance(size, int) for size in output)
    given = jax.ShapeDtypeStruct(output, jnp.float32) if is_array else output
    _check_names("the output of the model", given, sorted(head))
    for name, one in head.items():
        one.check(y[name], functools.partial(output.__getitem__, name))


def _one_shape(output_shape: Callable[[], Any]) -> tuple[int, ...]:
    shape = output_shape()
    if isinstance(shape, Mapping):
        raise TypeError(
            f"the model must return one array for this loss, got a dictionary of {list(shape)}. "
            "For several heads pass a dictionary of losses: supervised({'priority': "
            "fn.losses.binary_cross_entropy, ...})."
        )
    return shape


@functools.lru_cache(maxsize=256)
def _output_shape(structure: Any, num_features: int, shapes: tuple[Any, ...]) -> Any:
    """The shape of a model's output for one example, cached: `fit` needs it at every call.

    `shapes` are the shapes and dtypes of the model's leaves, then of `num_features` arrays with rows.
    """
    first = len(shapes) - num_features
    structs = [
        jax.ShapeDtypeStruct(shape if i < first else shape[1:], dtype)
        for i, (shape, dtype) in enumerate(shapes)
    ]
    with _check.key_or_none(None):
        output = jax.eval_shape(lambda pair: call(pair[0], pair[1], None), structure.unflatten(structs))
    return jax.tree.map(lambda leaf: leaf.shape, output)

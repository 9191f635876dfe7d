import functools
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._metric import Metric
from funcnet._module import call
from funcnet._types import Key, Loss, PerExample, PyTree
from funcnet.losses._targets import check_targets


@_check.usage("fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)")
def supervised(per_example_loss: PerExample, **metrics: PerExample) -> Loss:
    """The loss of a model on one example (x, y): `per_example_loss(model(x), y)`.

    Args:
        per_example_loss: `(prediction, target) -> scalar`, such as `squared_error`.
        **metrics: functions of the same kind, or a `fn.metrics.Metric` such as `fn.metrics.f1()`; their
            values are logged by name.

    Returns:
        `loss(model, example, key) -> (scalar, {name: scalar})`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if an argument is not a function of a prediction and a target; in training, before
            compilation, if the model can't be called, or has a layer that needs a key and does not take
            one.
        ValueError: if the history itself uses the name of a metric; in training, if the targets are not
            valid for the loss.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error, error=fn.metrics.absolute_error)
        >>> value, logged = loss(lambda x: 2 * x, (jnp.array(1.0), jnp.array(5.0)), None)
        >>> float(value), float(logged["error"])
        (9.0, 3.0)
    """
    if isinstance(per_example_loss, Metric):
        raise TypeError(
            f"per_example_loss must be a function of one example, got {per_example_loss}, which is "
            "computed from all examples: it can be measured but not minimized. Pass it as a metric: "
            "supervised(fn.losses.squared_error, rmse=fn.metrics.rmse())."
        )
    for name, f in {"per_example_loss": per_example_loss, **metrics}.items():
        _check.per_example(name, f)
    _check.metric_names(metrics)

    @_check.usage("loss(model, (x, y), key)")
    def loss(model: Any, example: PyTree, key: Key | None) -> tuple[Any, dict[str, Any]]:
        if not (isinstance(example, tuple | list) and len(example) == 2):
            raise ValueError(
                "a batch for a supervised loss must hold examples (x, y), got an example that is "
                f"{_check.describe(example)}. Pass (x, y): loss(model, (x, y), key)."
            )
        x, y = example
        prediction = call(model, x, key)
        return per_example_loss(prediction, y), {name: m(prediction, y) for name, m in metrics.items()}

    loss.check = functools.partial(_check_pairs, per_example_loss)  # type: ignore[attr-defined]
    return loss


def _check_pairs(per_example: PerExample, model: Any, examples: PyTree) -> None:
    """Check that concrete targets are valid for the loss; `examples` have a leading axis."""
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(
            f"data of a supervised loss must be examples (x, y), got {type(examples).__name__} of "
            f"{len(jax.tree.leaves(examples))} arrays. Pass data=(x, y)."
        )
    x, y = examples
    if not jax.tree.leaves(x):
        raise ValueError("data of a supervised loss must be examples (x, y), got x=None. Pass data=(x, y).")
    if not jax.tree.leaves(y):
        raise ValueError("data of a supervised loss must be examples (x, y), got y=None. Pass data=(x, y).")
    while isinstance(per_example, functools.partial):
        per_example = per_example.func
    if not _tree.is_concrete(y):
        return
    leaves, structure = jax.tree.flatten((model, x))
    shapes = tuple((a.shape, a.dtype) for a in leaves)
    check_targets(per_example, y, lambda: _output_shape(structure, len(jax.tree.leaves(x)), shapes))


@functools.lru_cache(maxsize=256)
def _output_shape(structure: Any, num_features: int, shapes: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of a model's output for one example, cached: `fit` needs it at every call.

    `shapes` are the shapes and dtypes of the model's leaves, then of `num_features` arrays with rows.
    """
    first = len(shapes) - num_features
    structs = [
        jax.ShapeDtypeStruct(shape if i < first else shape[1:], dtype)
        for i, (shape, dtype) in enumerate(shapes)
    ]
    return jax.eval_shape(lambda pair: call(pair[0], pair[1], None), structure.unflatten(structs)).shape

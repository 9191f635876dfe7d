import functools
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._metric import Metric
from funcnet._module import call
from funcnet._types import Key, Loss, PerExample, PyTree
from funcnet.losses._targets import suitable


def supervised(per_example_loss: PerExample, **metrics: PerExample) -> Loss:
    """The loss of a model on one example (x, y): `per_example_loss(model(x), y)`.

    Args:
        per_example_loss: `(prediction, target) -> scalar`, such as `squared_error`.
        **metrics: further functions of the same kind, logged under their names; or a
            `fn.metrics.Metric`, such as `fn.metrics.f1()`.

    Returns:
        `loss(model, example, key) -> (scalar, {name: scalar})`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if an argument is no function of a prediction and a target; later, before anything
            compiles, if the model can't be called, or takes no key and holds a layer that needs one in
            training.
        ValueError: if a metric has a name that the history uses; later, if targets don't suit.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error, error=fn.metrics.absolute_error)
        >>> value, logged = loss(lambda x: 2 * x, (jnp.array(1.0), jnp.array(5.0)), None)
        >>> float(value), float(logged["error"])
        (9.0, 3.0)
    """
    if isinstance(per_example_loss, Metric):
        raise TypeError(
            f"per_example_loss is a number for each example, and {per_example_loss} is one for all of "
            "them: it can be measured, and not be minimised. Pass it as a metric by its name."
        )
    for name, f in {"per_example_loss": per_example_loss, **metrics}.items():
        _check.per_example(name, f)
    _check.metric_names(metrics)

    def loss(model: Any, example: PyTree, key: Key | None) -> tuple[Any, dict[str, Any]]:
        x, y = example
        prediction = call(model, x, key)
        return per_example_loss(prediction, y), {k: m(prediction, y) for k, m in metrics.items()}

    loss.check = functools.partial(_check_pairs, per_example_loss)  # type: ignore[attr-defined]
    return loss


def _check_pairs(per_example: PerExample, model: Any, examples: PyTree) -> None:
    """Raise if concrete targets don't suit the loss; `examples` have a leading axis."""
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ValueError(
            f"a supervised loss wants examples (x, y); got {type(examples).__name__} of "
            f"{len(jax.tree.leaves(examples))} arrays. Pass data=(x, y)."
        )
    x, y = examples
    if not jax.tree.leaves(y):
        raise ValueError("a supervised loss wants examples (x, y); the target y is None. Pass data=(x, y).")
    while isinstance(per_example, functools.partial):
        per_example = per_example.func
    if not _tree.is_concrete(y):
        return
    leaves, structure = jax.tree.flatten((model, x))
    known = tuple((a.shape, a.dtype) for a in leaves)
    suitable(per_example, y, lambda: _output_shape(structure, len(jax.tree.leaves(x)), known))


@functools.lru_cache(maxsize=256)
def _output_shape(structure: Any, features: int, leaves: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of a model's output for one example, remembered: `fit` asks at every call."""
    first = len(leaves) - features
    cut = [(shape if i < first else shape[1:], dtype) for i, (shape, dtype) in enumerate(leaves)]
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in cut]
    return jax.eval_shape(lambda pair: call(pair[0], pair[1], None), structure.unflatten(structs)).shape

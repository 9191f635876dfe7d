"""Losses of one example: `f(prediction, target) -> scalar`. Batches, weights and means are `fit`'s."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import call
from funcnet._types import Array, ArrayLike, Key, Loss, PerExample, PyTree, Scalar


def squared_error(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """The squared error (p - t)², averaged over the entries of one example.

    Args:
        prediction: any shape, in units u.
        target: the same shape.

    Returns:
        A scalar in u².

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.squared_error(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0

    Source: Gauss, "Theoria motus corporum coelestium", 1809.
    """
    _check.equal_shapes("squared_error", prediction, target)
    p = _floating(prediction)
    return jnp.mean(optax.losses.squared_error(p, _like(target, p)))


def binary_cross_entropy(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """Minus the log-likelihood of a target in {0, 1} under p = sigmoid(logit), fused and stable.

    Args:
        logits: any shape; log-odds of class 1, averaged over the entries.
        target: the same shape, 0 or 1 (any dtype) or a probability in between.

    Returns:
        A scalar in nats. NaN for a target outside [0, 1].

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.binary_cross_entropy(jnp.array(0.0), jnp.array(1))), 4)
        0.6931

    Source: Cox, "The regression analysis of binary sequences", 1958.
    """
    _check.equal_shapes("binary_cross_entropy", logits, target)
    z = _floating(logits)
    t = _like(target, z)
    each = optax.losses.sigmoid_binary_cross_entropy(z, t)
    return jnp.mean(jnp.where((t >= 0) & (t <= 1), each, jnp.nan))


def cross_entropy(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """Minus the log-likelihood of the target class under softmax(logits), fused and stable.

    Args:
        logits: [..., classes]; leading axes (positions of a sequence) are averaged.
        target: integers [...] in 0 .. classes-1, or probabilities [..., classes] (one-hot).

    Returns:
        A scalar in nats. NaN for an integer out of range.

    Raises:
        ValueError: if the target has neither of the two shapes.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> logits = jnp.array([0.0, 0.0, 0.0])
        >>> round(float(fn.losses.cross_entropy(logits, jnp.array(2))), 4)
        1.0986
        >>> round(float(fn.losses.cross_entropy(logits, jnp.array([0.0, 0.0, 1.0]))), 4)
        1.0986

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs",
    1990.
    """
    z = _floating(logits)
    t = jnp.asarray(target)
    if z.ndim and z.shape[-1] == 1:
        raise ValueError(
            "cross_entropy wants a logit for each class; got one, which has nothing to choose from. "
            "Two classes with a single logit: use binary_cross_entropy."
        )
    if jnp.issubdtype(t.dtype, jnp.integer) and t.shape == z.shape[:-1]:
        # Comparing with an iota instead of gathering: its transpose is no scatter.
        classes = jax.lax.broadcasted_iota(t.dtype, z.shape, z.ndim - 1)
        chosen = classes == jnp.broadcast_to(jnp.expand_dims(t, -1), z.shape)
        each = jax.nn.logsumexp(z, axis=-1) - jnp.sum(jnp.where(chosen, z, 0), axis=-1)
        return jnp.mean(jnp.where((t >= 0) & (t < z.shape[-1]), each, jnp.nan))
    if t.shape != z.shape or not jnp.issubdtype(t.dtype, jnp.floating):
        raise ValueError(
            "cross_entropy wants logits [..., classes] and integer targets [...] or probabilities "
            f"[..., classes]; got logits of shape {z.shape} and a {t.dtype} target of shape {t.shape} "
            "for one example. One-hot rows are floating, y.astype(float); class numbers are whole, "
            "y.astype(int), without an axis of their own, y[:, 0]."
        )
    return jnp.mean(optax.losses.softmax_cross_entropy(z, _like(t, z)))


def supervised(per_example_loss: PerExample, **metrics: PerExample) -> Loss:
    """The loss of a model on one example (x, y): `per_example_loss(model(x), y)`.

    Args:
        per_example_loss: `(prediction, target) -> scalar`, such as `squared_error`.
        **metrics: further functions of the same kind, logged under their names.

    Returns:
        `loss(model, example, key) -> (scalar, {name: scalar})`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if an argument is no function; later, before anything compiles, if the model
            can't be called, or takes no key and holds a layer that needs one in training.
        ValueError: if a metric has a name that the history uses; later, if targets don't suit.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> loss = fn.losses.supervised(fn.losses.squared_error, error=fn.metrics.absolute_error)
        >>> value, logged = loss(lambda x: 2 * x, (jnp.array(1.0), jnp.array(5.0)), None)
        >>> float(value), float(logged["error"])
        (9.0, 3.0)
    """
    for name, f in {"per_example_loss": per_example_loss, **metrics}.items():
        _check.function(name, f, "a function (prediction, target) -> scalar")
    _check.metric_names(metrics)

    def loss(model: Any, example: PyTree, key: Key | None) -> tuple[Any, dict[str, Any]]:
        x, y = example
        prediction = call(model, x, key)
        return per_example_loss(prediction, y), {k: m(prediction, y) for k, m in metrics.items()}

    loss.check = functools.partial(_check_pairs, per_example_loss)  # type: ignore[attr-defined]
    return loss


def batchwise(loss: Callable[..., Any]) -> Loss:
    """Mark a loss that needs the whole batch: `loss(model, batch, weight, key)`.

    Args:
        loss: returns the batch's weighted **mean** (and metrics, likewise); `batch` is the example
            with a leading axis, `weight` [batch] is zero for padded rows. Means over batches count
            each batch by its weight, and `accumulate` can't split it.

    Returns:
        The same function, marked.

    Raises:
        TypeError: if `loss` is no function.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> @fn.losses.batchwise
        ... def spread(model, batch, weight, key):
        ...     x, _ = batch
        ...     return jnp.var(model(x), where=weight > 0)
        >>> spread.batchwise
        True
    """
    _check.function("loss", loss, "a function (model, batch, weight, key) -> scalar")

    @functools.wraps(loss)
    def marked(*args: Any) -> Any:
        return loss(*args)

    marked.batchwise = True  # type: ignore[attr-defined]
    return marked


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
    if per_example not in (cross_entropy, binary_cross_entropy) or not _tree.is_concrete(y):
        return
    if per_example is binary_cross_entropy:
        _check.targets_between("binary_cross_entropy", y, 0, 1)
        return
    leaves, structure = jax.tree.flatten((model, x))
    classes = _output_shape(structure, len(jax.tree.leaves(x)), tuple((a.shape, a.dtype) for a in leaves))
    if jnp.issubdtype(y.dtype, jnp.integer) and y.shape[1:] == classes[:-1]:
        _check.targets_between("cross_entropy", y, 0, classes[-1] - 1)
    elif jnp.issubdtype(y.dtype, jnp.floating) and y.shape[1:] == classes:
        _check.probabilities("cross_entropy", y)


@functools.lru_cache(maxsize=256)
def _output_shape(structure: Any, features: int, leaves: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of a model's output for one example, remembered: `fit` asks at every call."""
    first = len(leaves) - features
    cut = [(shape if i < first else shape[1:], dtype) for i, (shape, dtype) in enumerate(leaves)]
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in cut]
    return jax.eval_shape(lambda pair: call(pair[0], pair[1], None), structure.unflatten(structs)).shape


def _floating(values: ArrayLike) -> Array:
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _like(target: ArrayLike, prediction: Array) -> Array:
    return jnp.asarray(target).astype(prediction.dtype)

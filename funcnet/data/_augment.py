"""Augmentation by composition: losses that change their examples while they train, and only then."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._metric import MetricSums, at_least_single, weighted_sum
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data._transforms import Transform


def augmented(loss: Loss, transform: Transform) -> Loss:
    """A loss whose examples go through `transform` in training, and stay as they are in evaluation.

    Every example in every step is changed anew. `transform` gets `fold_in(key, "augment")`, named as
    in `Module.init`; the model keeps `key` itself, so its dropout and the transform draw
    independently, and a transform that changes nothing changes no number of the training.

    Args:
        loss: `loss(model, example, key)` of one example, or one marked by `losses.batchwise`, whose
            examples are then changed one by one.
        transform: `transform(key, example) -> example`, such as `shift(2)` or `chain(...)`.

    Returns:
        A loss of the same kind, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if either is no function, or the loss takes other arguments.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> plain = fn.losses.supervised(fn.losses.squared_error)
        >>> loss = fn.data.augmented(plain, fn.data.noise(1.0))
        >>> example, model = (jnp.array(1.0), jnp.array(2.0)), lambda x: 2 * x
        >>> float(loss(model, example, None)[0])  # evaluation
        0.0
        >>> bool(loss(model, example, jax.random.key(0))[0] > 0)  # training
        True
    """
    _check.loss(loss)
    _check.transform("transform", transform)

    @functools.wraps(loss)  # what is marked on the loss, such as its check of targets, holds here too
    def changed(model: Any, example: PyTree, *rest: Any) -> Any:
        key = rest[-1]
        if key is None:
            return loss(model, example, *rest)
        own = _keys.named(key, "augment")
        if getattr(loss, "batchwise", False):
            example = jax.vmap(transform)(_row_keys(own, len(rest[0])), example)
        else:
            example = transform(own, example)
        return loss(model, example, *rest)

    return changed


def mixup(loss: Loss, alpha: float = 0.2) -> Loss:
    """A loss on mixed examples: λ·loss(x', y) + (1 - λ)·loss(x', y₂) with x' = λ·x + (1 - λ)·x₂.

    Each example gets a partner (x₂, y₂) from its batch, drawn by weight, and a share λ from
    Beta(alpha, alpha). Mixing the losses instead of the targets needs no one-hot rows, and for
    cross-entropy and squared error has the same gradient. Metrics are mixed likewise, of a `Metric`
    its sums. Without a key it is the plain weighted mean of `loss`.

    A partner depends on the weights and not on how many rows there are, so rows of weight zero change
    nothing. To transform before mixing: `augmented(mixup(loss), transform)`.

    Args:
        loss: of one example (x, y), x floating.
        alpha: how much is mixed, above 0; towards 0 λ is near 0 or 1, and 1 makes it uniform.

    Returns:
        A loss marked as by `losses.batchwise`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if the loss takes other arguments, or is a batchwise one, or `alpha` is no number.
        ValueError: if `alpha` is not above 0; later, if examples are no pairs of floating x and y.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> data = (x, (x[:, 0] > 0).astype(int))
        >>> plain = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(fn.data.mixup(plain), optax.adam(0.03), epochs=20, batch_size=16)
        >>> run = train(fn.MLP((1, 8, 2)).init(jax.random.key(0)), data, jax.random.key(1), data)
        >>> bool(run.history["val_accuracy"][-1] > 0.9)
        True

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond empirical risk minimization", 2018.
    """
    _check.loss(loss)
    if getattr(loss, "batchwise", False):
        raise TypeError("mixup wants the loss of one example, and a batchwise one came.")
    _check.between("alpha", alpha, 0.0, float("inf"))
    if alpha == 0:
        raise ValueError("alpha is above 0; got 0. For no mixing use the loss itself.")

    @functools.wraps(loss)
    def mixed(model: Any, batch: PyTree, weight: Array, key: Key | None) -> Any:
        if key is None:
            each = jax.vmap(lambda example: loss(model, example, None))(batch)
            return _summed_up(each, weight)
        x, y = _pairs(batch)
        keys = _row_keys(_keys.named(key, "mixup"), len(weight))
        other = jax.vmap(_partner, in_axes=(0, None))(keys, _mass(weight))
        share = jax.vmap(lambda k: jax.random.beta(_keys.named(k, "share"), alpha, alpha))(keys)

        def one(x: Array, other_x: Array, y: PyTree, other_y: PyTree, share: Array, key: Key) -> Any:
            between = _blend(x, other_x, share)
            values = loss(model, (between, y), key), loss(model, (between, other_y), key)
            return jax.tree.map(lambda a, b: _blend(a, b, share), *values)

        other_y = jax.tree.map(lambda a: a[other], y)
        each = jax.vmap(one)(x, x[other], y, other_y, share, _row_keys(key, len(weight)))
        return _summed_up(each, weight)

    mixed.batchwise = True  # type: ignore[attr-defined]
    return mixed  # type: ignore[return-value]


def _row_keys(key: Key, rows: int) -> Key:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(rows, dtype=jnp.int32))


def _mass(weight: Array) -> Array:
    """The weights' running sums, which rise at no row of weight zero: rounding alone may make them."""
    sums = jnp.cumsum(weight)
    return jax.lax.cummax(jnp.where(weight > 0, sums, -jnp.ones_like(sums)))


def _partner(key: Key, mass: Array) -> Array:
    """A row, drawn by weight: the first whose running sum reaches a draw. Never a row of weight zero."""
    drawn = 1 - jax.random.uniform(key, dtype=mass.dtype)  # in (0, 1]
    return jnp.searchsorted(mass, drawn * mass[-1])


def _blend(a: Any, b: Any, share: Array) -> Array:
    a, b = _floating(a), _floating(b)
    share = share.astype(a.dtype)
    return share * a + (1 - share) * b


def _floating(value: Any) -> Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _pairs(batch: PyTree) -> tuple[Array, PyTree]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and hasattr(batch[0], "dtype")):
        raise ValueError("mixup wants examples (x, y) of which x is one array. Pass data=(x, y).")
    if not jnp.issubdtype(batch[0].dtype, jnp.floating):
        raise ValueError(f"mixup wants floating features; got {batch[0].dtype}. Try x.astype(float).")
    return batch[0], batch[1]


def _summed_up(each: Any, weight: Array) -> Any:
    """Of each `Metric` its sums over the rows, of all else means; both are 0 if no row counts."""
    mass = jnp.sum(weight)

    def total(values: Any) -> Any:
        sums = jax.tree.map(lambda v: weighted_sum(at_least_single(v), weight), values)
        if isinstance(values, MetricSums):
            return sums
        return sums / jnp.where(mass > 0, mass, jnp.ones_like(mass)).astype(sums.dtype)

    return jax.tree.map(total, each, is_leaf=lambda part: isinstance(part, MetricSums))

"""Augmentation by composition: losses that transform their examples in training only."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check, _keys
from funcnet._metric import MetricRows, MetricSums, promote_to_float32, weighted_sum
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data._transforms import Transform


def augmented(loss: Loss, transform: Transform) -> Loss:
    """A loss whose examples are transformed in training and left unchanged in evaluation.

    Every example gets a new random transform in every step. `transform` gets `fold_in(key, "augment")`,
    named as in `Module.init`; the model gets `key` itself. So dropout and the transform draw independent
    numbers, and a transform that returns its example unchanged gives the same run as no transform.

    Args:
        loss: `loss(model, example, key)` of one example, or one marked by `losses.batchwise`, whose
            examples are then transformed one by one.
        transform: `transform(key, example) -> example`, such as `shift(2)` or `chain(...)`.

    Returns:
        A loss of the same kind, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if either is not a function, or the loss takes other arguments.

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

    @functools.wraps(loss)  # keeps attributes of the loss, such as its check of targets
    def loss_of_transformed(model: Any, example: PyTree, *rest: Any) -> Any:
        key = rest[-1]
        if key is None:
            return loss(model, example, *rest)
        _check.key(key)
        transform_key = _keys.fold_in_name(key, "augment")
        if getattr(loss, "batchwise", False):
            example = jax.vmap(transform)(_row_keys(transform_key, len(rest[0])), example)
        else:
            example = transform(transform_key, example)
        return loss(model, example, *rest)

    return loss_of_transformed


def mixup(loss: Loss, alpha: float = 0.2) -> Loss:
    """A loss on mixed examples: λ·loss(x', y) + (1 - λ)·loss(x', y₂) with x' = λ·x + (1 - λ)·x₂.

    Each example gets a partner (x₂, y₂) from its batch, drawn with probability proportional to its weight,
    and a fraction λ from Beta(alpha, alpha). Mixing the losses instead of the targets needs no one-hot
    rows, and has the same gradient for cross-entropy and squared error. Metrics are mixed in the same way;
    for a `Metric`, its sums are. In evaluation, where `key` is None, it is the weighted mean of `loss`.

    A partner depends on the weights and not on the number of rows, so rows of weight zero have no effect.
    To transform before mixing: `augmented(mixup(loss), transform)`.

    Args:
        loss: of one example (x, y), x floating.
        alpha: the parameter of the Beta distribution, above 0; near 0 λ is almost always near 0 or 1, and
            1 makes it uniform.

    Returns:
        A loss marked as by `losses.batchwise`, for `fit`, `step` and `evaluate`.

    Raises:
        TypeError: if the loss takes other arguments or is batchwise, or `alpha` is not a number.
        ValueError: if `alpha` is not above 0; when called, if examples are not pairs of floating x and y.

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
        raise TypeError(
            "the loss of mixup must be of one example, got one marked by losses.batchwise. "
            "Try fn.losses.supervised(fn.losses.cross_entropy)."
        )
    alpha = _check.between("alpha", alpha, 0.0, float("inf"))
    if alpha == 0:
        raise ValueError("alpha must be above 0, got 0. For no mixing use the loss itself.")
    alpha = _check.setting("alpha", alpha, 0.0, float("inf"))
    alpha = float(alpha)

    @functools.wraps(loss)
    def mixed_loss(model: Any, batch: PyTree, weight: Array, key: Key | None) -> Any:
        if key is None:
            values = jax.vmap(lambda example: _check.results("loss", loss(model, example, None)))(batch)
            return _reduce(values, weight)
        _check.key(key)
        x, y = _split_pair(_check.pytree("batch", batch))
        keys = _row_keys(_keys.fold_in_name(key, "mixup"), len(weight))
        partner = jax.vmap(_draw_row, in_axes=(0, None))(keys, _cumulative_weight(weight))
        fraction = jax.vmap(lambda k: jax.random.beta(_keys.fold_in_name(k, "share"), alpha, alpha))(keys)

        def mixed_loss_of_example(
            x: Array, other_x: Array, y: PyTree, other_y: PyTree, fraction: Array, key: Key
        ) -> Any:
            mixed_x = _interpolate(x, other_x, fraction)
            values = [_check.results("loss", loss(model, (mixed_x, t), key)) for t in (y, other_y)]
            return jax.tree.map(lambda a, b: _interpolate(a, b, fraction), *values)

        partner_y = jax.tree.map(lambda a: a[partner], y)
        values = jax.vmap(mixed_loss_of_example)(
            x, x[partner], y, partner_y, fraction, _row_keys(key, len(weight))
        )
        return _reduce(values, weight)

    mixed_loss.batchwise = True  # type: ignore[attr-defined]
    return mixed_loss  # type: ignore[return-value]


def _row_keys(key: Key, n: int) -> Key:
    """A key for each of n rows."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(n, dtype=jnp.int32))


def _cumulative_weight(weight: Array) -> Array:
    """The cumulative sums of the weights, without increases at rows of weight zero by rounding."""
    sums = jnp.cumsum(weight)
    return jax.lax.cummax(jnp.where(weight > 0, sums, -jnp.ones_like(sums)))


def _draw_row(key: Key, cumulative_weight: Array) -> Array:
    """A row drawn with probability proportional to its weight. Never a row of weight zero."""
    uniform = 1 - jax.random.uniform(key, dtype=cumulative_weight.dtype)  # in (0, 1]
    return jnp.searchsorted(cumulative_weight, uniform * cumulative_weight[-1])


def _interpolate(a: Any, b: Any, fraction: Array) -> Array:
    a, b = _floating(a), _floating(b)
    fraction = fraction.astype(a.dtype)
    return fraction * a + (1 - fraction) * b


def _floating(value: Any) -> Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _split_pair(batch: PyTree) -> tuple[Array, PyTree]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and hasattr(batch[0], "dtype")):
        raise ValueError(
            "mixup expects examples (x, y) where x is an array, got another structure. Pass data=(x, y)."
        )
    if not jnp.issubdtype(batch[0].dtype, jnp.floating):
        raise ValueError(f"mixup expects floating features, got {batch[0].dtype}. Try x.astype(float).")
    targets = jax.tree.map(lambda leaf: _check.jax_array("the targets of mixup", leaf), batch[1])
    for leaf in jax.tree.leaves(targets):
        if getattr(leaf, "shape", ())[:1] != batch[0].shape[:1]:
            raise ValueError(
                "the batch of mixup must have targets with one row for each of its "
                f"{len(batch[0])} examples, got {_check.describe(leaf)}. Try (x, jnp.asarray(y))."
            )
    return batch[0], targets


def _reduce(values: Any, weight: Array) -> Any:
    """The sums of each `Metric` over the rows, and the means of all others; 0 if all weights are zero."""
    total_weight = jnp.sum(weight)

    def reduce_one(values: Any) -> Any:
        if isinstance(values, MetricRows):
            return values
        sums = jax.tree.map(lambda v: weighted_sum(promote_to_float32(v), weight), values)
        if isinstance(values, MetricSums):
            return sums
        return sums / jnp.where(total_weight > 0, total_weight, jnp.ones_like(total_weight)).astype(
            sums.dtype
        )

    return jax.tree.map(reduce_one, values, is_leaf=lambda node: isinstance(node, MetricSums | MetricRows))

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._sow import BATCH_AXIS, batch_weight, in_batch, over_batch, replace_buffer
from funcnet._types import Array, Float, Key
from funcnet.layers._dtype import as_floating, wide


class BatchNorm(Module):
    """Batch normalization: each feature normalized over the batch, then scaled and shifted.

    y = (x - mean) / sqrt(variance + eps) · scale + bias. Mean and variance are taken over all axes but
    the last and over the examples of the batch, each with its weight: padding and rows of weight zero have
    no effect. In training (with a key) they are those of the batch, and the running statistics are
    updated: running ← (1 - momentum) · running + momentum · batch, with the unbiased variance (n - 1).
    In inference (without a key) the running statistics are used.

    The running statistics are buffers of the model. `step`, `fit` and `Trainer` update them; calling a
    model directly does not change it. On several devices the statistics are those of the whole batch;
    with `accumulate` each micro-batch is normalized separately. If `fn.freeze` froze them, they are used in
    training, too, and not updated. With `ema`, the averaged weights are combined with the latest
    statistics. A loss marked by `losses.batchwise` calls the model on all rows of its batch, the leading
    axis; a layer that it calls twice updates its statistics twice, in order, as in PyTorch. The layer must
    be called inside the loss while the loss is traced, not in a function that was compiled separately by
    `jax.jit`.

    Args:
        features: size of the last axis.
        momentum: weight of the new batch in the running statistics, in (0, 1].
        eps: added to the variance, in its units.
        use_scale: whether a scale is learned; it starts at one.
        use_bias: whether a bias is learned; it starts at zero.
        scale: [features], set by `init` if None.
        bias: [features], set by `init` if None.
        mean: Buffer of [features], the running mean; set to zero by `init` if None.
        variance: Buffer of [features], the running variance; set to one by `init` if None.

    Returns:
        When called on x of shape [..., features]: the same shape and dtype.

    Raises:
        ValueError: if a setting is out of range, the last axis of x is not `features`, a single row is
            normalized outside of `fit` and `step`, the loss calls the model under `vmap` over the examples,
            or a batchwise loss calls it on other rows than those of its batch.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> norm = fn.layers.BatchNorm(1).init(jax.random.key(0))
        >>> x = jnp.array([[1.0], [3.0], [5.0]])
        >>> [f"{value:.3f}" for value in norm(x, key=jax.random.key(1))[:, 0]]  # in training
        ['-1.225', '0.000', '1.225']
        >>> [f"{value:.3f}" for value in norm(x)[:, 0]]  # in inference, with mean 0 and variance 1
        ['1.000', '3.000', '5.000']

    Source: Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015; momentum and unbiased running variance as in PyTorch.
    """

    needs_key: ClassVar[bool] = True
    features: int
    _: KW_ONLY
    momentum: float = 0.1
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale: Float[Array, "..."] | None = None
    bias: Float[Array, "..."] | None = None
    mean: Buffer | None = None
    variance: Buffer | None = None

    def __post_init__(self) -> None:
        _check.positive("features", self.features)
        _check.above_zero("eps", self.eps)
        _check.boolean("use_scale", self.use_scale)
        _check.boolean("use_bias", self.use_bias)
        _check.above_zero("momentum", self.momentum)
        if not 0 < self.momentum <= 1:
            raise ValueError(
                f"momentum must be above 0 and at most 1, got {self.momentum!r}. It is the weight of the "
                "new batch in the running statistics: BatchNorm(8, momentum=0.1)."
            )

    def parameters(self, key: Key) -> Mapping[str, Any]:
        del key
        shape = (self.features,)
        learned = {"scale": (self.use_scale, jnp.ones), "bias": (self.use_bias, jnp.zeros)}
        affine: dict[str, Any] = {name: make(shape) for name, (used, make) in learned.items() if used}
        return affine | {"mean": Buffer(jnp.zeros(shape)), "variance": Buffer(jnp.ones(shape))}

    def _check_training(self, key: Key) -> None:
        _check.key(key)
        for name in ("mean", "variance"):
            dtype = getattr(self, name).value.dtype
            if dtype.itemsize < 4:  # a running mean moves by less than half a digit, and stops
                raise TypeError(
                    f"BatchNorm.{name} must be at least float32 in training, got {dtype}. Cast parameters "
                    "alone: fn.Precision(param='bfloat16', compute='bfloat16').cast_parameters(model)."
                )

    def _normalize_rows(self, x: Array, key: Key, weight: Array) -> Array:
        """The layer on all rows of a batch at once, [rows, ..., features], in a loss of the whole batch."""
        _check_rows(x, len(weight))

        def normalize_row(row: Array, weight: Array) -> Array:
            with in_batch(weight):
                return self(row, key)

        return jax.vmap(normalize_row, axis_name=BATCH_AXIS)(x, weight)

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = _check.last_axis(f"BatchNorm({self.features})", x, self.features)
        weight = batch_weight()
        if key is not None and weight is not None and weight.ndim:
            return self._normalize_rows(x, key, weight)
        assert self.mean is not None
        assert self.variance is not None
        wider = wide(x)
        mean, variance = (buffer.value.astype(wider.dtype) for buffer in (self.mean, self.variance))
        if key is not None and not self._is_frozen("mean", "variance"):
            self._check_training(key)
            batch_mean, batch_variance, count = _statistics(wider)
            several = count > 1  # one entry has no variance: the running statistics are used instead
            unbiased = batch_variance * count / jnp.where(several, count - 1, 1)
            mean, variance, before = (
                jnp.where(several, batch_mean, mean),
                jnp.where(several, batch_variance, variance),
                variance,
            )
            replace_buffer(self.mean.value, mean, self.momentum)
            replace_buffer(self.variance.value, jnp.where(several, unbiased, before), self.momentum)
        factor = jax.lax.rsqrt(variance + jnp.asarray(float(self.eps), variance.dtype))
        if self.scale is not None:
            factor = factor * self.scale.astype(factor.dtype)
        y = (wider - _broadcast(mean, wider)) * _broadcast(factor, wider)
        if self.bias is not None:
            y = y + _broadcast(self.bias.astype(y.dtype), y)
        return as_floating(y, x.dtype)


def _check_rows(x: Array, rows: int) -> None:
    """Check that the leading axis of x is that of the batch, so that each row has its weight."""
    if x.ndim < 2 or len(x) != rows:
        raise ValueError(
            "a loss marked by losses.batchwise must call a model with BatchNorm on all rows of the batch, "
            f"its leading axis, got an array of shape {x.shape} for a batch of {rows} rows. Write model(x, "
            "key=key) without jax.vmap; call it once for each view, or stack the views on the second axis "
            "to normalize them together: model(jnp.stack([a, b], axis=1), key=key)."
        )


def _statistics(x: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of each feature over the batch, and the number of entries they are taken over."""
    axes, weight = tuple(range(x.ndim - 1)), batch_weight()
    positions = x.size // x.shape[-1]
    if weight is None:
        if positions < 2:
            raise ValueError(
                "in training BatchNorm needs a batch of at least 2 rows, got 1. Pass several rows, or no "
                "key for inference: model(x)"
            )
        return jnp.mean(x, axes), jnp.var(x, axes), jnp.asarray(positions, x.dtype)
    weight = weight.astype(x.dtype)
    total = over_batch(weight)
    total = jnp.where(total > 0, total, 1)  # avoids 0 / 0 if all weights are zero
    mean = over_batch(weight * jnp.sum(x, axes)) / (total * positions)
    centred = x - _broadcast(mean, x)
    variance = over_batch(weight * jnp.sum(centred * centred, axes)) / (total * positions)
    # A weight of 2 counts a row twice, but a weight below 1 still belongs to one whole row.
    rows = jnp.maximum(total, over_batch((weight > 0).astype(x.dtype)))
    return mean, variance, rows * positions


def _broadcast(a: Array, x: Array) -> Array:
    return jnp.broadcast_to(a, x.shape)

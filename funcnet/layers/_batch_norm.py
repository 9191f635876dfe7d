from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._sow import batch_weight, over_batch, update_buffer
from funcnet._types import Array, Float, Key
from funcnet.layers._dtype import as_floating, wide


class BatchNorm(Module):
    """Each feature shifted and scaled to mean 0 and variance 1 over a batch, then by what is learned.

    (x - mean) / sqrt(variance + eps) · scale + bias, over all axes but the last, and over the examples of
    the batch that is trained on, each by its weight: padding and rows of weight zero play no part. In
    training, when there is a key, mean and variance are the batch's, and the running ones move towards
    them: running ← (1 - momentum) · running + momentum · batch, the variance there with n - 1. In
    inference, without a key, the running ones are used.

    Running statistics are buffers of the model. `step`, `fit` and `Trainer` carry them on; a model that
    is called by hand is a value and stays as it is. Spread over devices they are those of the whole
    batch; with `accumulate` each part is normalised by itself. With `ema` the averaged weights come with
    the statistics of the last ones. A layer is part of the loss as it is traced: not of a function that
    was compiled by itself, with `jax.jit` outside of it.

    Args:
        features: size of the last axis.
        momentum: share of the new batch in the running statistics, in (0, 1].
        eps: added to the variance, in its units.
        use_scale: whether a scale is learned; it starts at one.
        use_bias: whether a bias is learned; it starts at zero.
        scale: [features], set by `init` when left out.
        bias: [features], set by `init` when left out.
        mean: Buffer of [features], the running mean; zero after `init`.
        variance: Buffer of [features], the running variance; one after `init`.

    Returns:
        When called on x of shape [..., features]: the same shape and dtype.

    Raises:
        ValueError: if a setting is out of range, x has another last axis, or one row alone is to be
            normalised outside of a training; or, in a training, if the model is mapped within the loss, so
            that there is not one batch.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> norm = fn.layers.BatchNorm(1).init(jax.random.key(0))
        >>> x = jnp.array([[1.0], [3.0], [5.0]])
        >>> [f"{value:.3f}" for value in norm(x, key=jax.random.key(1))[:, 0]]  # in training
        ['-1.225', '0.000', '1.225']
        >>> [f"{value:.3f}" for value in norm(x)[:, 0]]  # in inference, with mean 0 and variance 1
        ['1.000', '3.000', '5.000']

    Source: Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015; momentum and the n - 1 as in PyTorch.
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
        if not 0 < self.momentum <= 1:
            raise ValueError(
                f"momentum is the new batch's share, above 0 and at most 1; got {self.momentum!r}."
            )

    def parameters(self, key: Key) -> Mapping[str, Any]:
        del key
        shape = (self.features,)
        learned = {"scale": (self.use_scale, jnp.ones), "bias": (self.use_bias, jnp.zeros)}
        made: dict[str, Any] = {name: make(shape) for name, (used, make) in learned.items() if used}
        return made | {"mean": Buffer(jnp.zeros(shape)), "variance": Buffer(jnp.ones(shape))}

    def __call__(self, x: Float[Array, "*shape"], key: Key | None = None) -> Float[Array, "*shape"]:
        _check.last_axis(f"BatchNorm({self.features})", x, self.features)
        assert self.mean is not None
        assert self.variance is not None
        wider = wide(x)
        mean, variance = (buffer.value.astype(wider.dtype) for buffer in (self.mean, self.variance))
        if key is not None:
            seen, spread, count = _statistics(wider)
            several = count > 1  # of one entry there is no variance: then the running ones serve
            unbiased = spread * count / jnp.where(several, count - 1, 1)
            mean, variance, before = (
                jnp.where(several, seen, mean),
                jnp.where(several, spread, variance),
                variance,
            )
            update_buffer(self.mean.value, mean, self.momentum)
            update_buffer(self.variance.value, jnp.where(several, unbiased, before), self.momentum)
        factor = jax.lax.rsqrt(variance + jnp.asarray(self.eps, variance.dtype))
        if self.scale is not None:
            factor = factor * self.scale.astype(factor.dtype)
        y = (wider - _like(mean, wider)) * _like(factor, wider)
        if self.bias is not None:
            y = y + _like(self.bias.astype(y.dtype), y)
        return as_floating(y, x.dtype)


def _statistics(x: Array) -> tuple[Array, Array, Array]:
    """Mean and variance of each feature over the batch, and how many entries they are of."""
    axes, weight = tuple(range(x.ndim - 1)), batch_weight()
    places = x.size // x.shape[-1]
    if weight is None:
        if places < 2:
            raise ValueError(
                "BatchNorm normalises by a batch, and one row came alone. Pass several "
                "rows, or no key for inference."
            )
        return jnp.mean(x, axes), jnp.var(x, axes), jnp.asarray(places, x.dtype)
    weight = weight.astype(x.dtype)
    mass = over_batch(weight)
    mass = jnp.where(mass > 0, mass, 1)  # where no row counts, nothing is made of it
    mean = over_batch(weight * jnp.sum(x, axes)) / (mass * places)
    away = x - _like(mean, x)
    spread = over_batch(weight * jnp.sum(away * away, axes)) / (mass * places)
    # A weight of two is a row that comes twice; weights below one still are of whole rows.
    rows = jnp.maximum(mass, over_batch((weight > 0).astype(x.dtype)))
    return mean, spread, rows * places


def _like(a: Array, x: Array) -> Array:
    return jnp.broadcast_to(a, x.shape)

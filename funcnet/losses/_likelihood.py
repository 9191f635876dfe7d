"""Likelihood losses: of counts, of numbers with a predicted variance, of distributions."""

import math

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import as_floating, integers_as_float, keep_digits, log_softmax, pair
from funcnet._types import Array, ArrayLike, Scalar


@keep_digits
def poisson(log_rate: ArrayLike, target: ArrayLike) -> Scalar:
    """The negative log-likelihood of a count under a Poisson distribution, without log t!: exp(z) - t·z.

    The term log t! does not depend on the prediction and is omitted, as in Keras and PyTorch.

    Args:
        log_rate: any shape; the logarithm of the expected count. The loss is averaged over the entries.
        target: the same shape; counts, at least 0.

    Returns:
        A scalar in nats, up to the omitted term. NaN for a negative target.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.poisson(jnp.array(0.0), jnp.array(3)))
        1.0
        >>> round(float(fn.losses.poisson(jnp.log(jnp.array(3.0)), jnp.array(3))), 4)
        -0.2958

    Source: Nelder, Wedderburn, "Generalized linear models", 1972.
    """
    z, t = pair("poisson", log_rate, target)
    rate = jnp.exp(z)
    # 0·(-inf) and inf - inf would be NaN: no event where none can occur costs 0, an infinite rate inf.
    values = rate - jnp.where((t == 0) | (rate == jnp.inf), 0, t * z)
    return jnp.mean(jnp.where(t >= 0, values, jnp.nan))


@keep_digits
def gaussian_nll(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """The negative log-likelihood under a normal distribution with predicted mean and log-variance.

    (log 2π + s + (t - m)²·exp(-s)) / 2 for the mean m and the log-variance s.

    Args:
        prediction: [..., 2]: mean and log-variance, such as the output of `fn.MLP((4, 16, 2))`.
        target: [...]; the loss is averaged over its entries.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if the prediction does not have the target's shape with an additional last axis of 2.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.gaussian_nll(jnp.array([1.0, 0.0]), jnp.array(1.0))), 4)
        0.9189
        >>> round(float(fn.losses.gaussian_nll(jnp.array([0.0, 0.0]), jnp.array(1.0))), 4)
        1.4189

    Source: Nix, Weigend, "Estimating the mean and variance of the target probability distribution",
    1994.
    """
    p = as_floating(prediction)
    if p.shape != (*jnp.shape(target), 2):
        raise ValueError(
            "gaussian_nll expects a mean and a log-variance for each target, a prediction [..., 2], got a "
            f"prediction of shape {p.shape} and a target of shape {jnp.shape(target)} for one example. "
            "Try fn.MLP((4, 16, 2))."
        )
    mean, log_variance = p[..., 0], p[..., 1]
    # Error and scale stay finite, since 0 · inf would be NaN. A scale beyond the limit is applied in two
    # factors, of which the second is 1 for ordinary variances.
    largest = float(jnp.finfo(p.dtype).max)
    limit = math.log(largest) - 1
    t = integers_as_float(target).astype(p.dtype)
    error = _clamp(t - mean, -largest, largest)
    exponent = -log_variance / 2
    scale = jnp.exp(_clamp(exponent, -largest, limit))
    scaled = error * scale * jnp.exp(_clamp(exponent - limit, 0, limit))
    is_nan = jnp.isnan(mean) | jnp.isnan(log_variance) | jnp.isnan(t)
    is_infinite = (jnp.isinf(mean) | jnp.isinf(t)) & ~is_nan
    square = jnp.where(is_infinite, jnp.inf, scaled**2)
    finite_term = jnp.where(square == jnp.inf, 0, log_variance)  # -inf + inf would be NaN
    return jnp.mean((math.log(2 * math.pi) + finite_term + square) / 2)


def _clamp(values: Array, low: float, high: float) -> Array:
    """Values in [low, high]; unlike that of `jnp.clip`, the gradient outside is 0 and never 0 · inf."""
    return jax.lax.clamp(jnp.asarray(low, values.dtype), values, jnp.asarray(high, values.dtype))


@keep_digits
def kl_divergence(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """The Kullback-Leibler divergence Σ t·log(t / p) of target probabilities t and p = softmax(logits).

    It is `cross_entropy` minus the entropy of the target, so it is 0 if both are equal.

    Args:
        logits: [..., classes], or log-probabilities. The loss is averaged over leading axes.
        target: probabilities of the same shape; if one is 0, its logit may have any value.

    Returns:
        A scalar in nats. NaN if a target is negative.

    Raises:
        ValueError: if the shapes differ, or the target is not floating.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> half = jnp.array([0.5, 0.5])
        >>> float(fn.losses.kl_divergence(jnp.log(half), half))
        0.0
        >>> round(float(fn.losses.kl_divergence(jnp.array([0.0, 0.0]), jnp.array([0.0, 1.0]))), 4)
        0.6931

    Source: Kullback, Leibler, "On information and sufficiency", 1951.
    """
    z, t = pair("kl_divergence", logits, target)
    if not z.ndim or not jnp.issubdtype(jnp.asarray(target).dtype, jnp.floating):
        raise ValueError(
            "kl_divergence expects probabilities [..., classes] as targets, got "
            f"{_check.describe(jnp.asarray(target))}. For class numbers use cross_entropy."
        )
    log_p = log_softmax(z)
    # optax computes 0·(0 - log p) = NaN if a logit is masked by -inf.
    is_positive = t > 0
    log_ratio = jnp.log(jnp.where(is_positive, t, 1)) - jnp.where(is_positive, log_p, 0)
    is_valid = jnp.all(t >= 0, axis=-1)
    return jnp.mean(
        jnp.where(is_valid, jnp.sum(jnp.where(is_positive, t, 0) * log_ratio, axis=-1), jnp.nan)
    )

"""Losses that are likelihoods: of counts, of numbers with their own spread, of whole distributions."""

import math

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._compare import floating, pair
from funcnet._types import ArrayLike, Scalar


def poisson(log_rate: ArrayLike, target: ArrayLike) -> Scalar:
    """Minus the log-likelihood of a count under a Poisson law, without log t!: exp(z) - t·z.

    The term log t! does not depend on the prediction and is left out, as in Keras and PyTorch.

    Args:
        log_rate: any shape; the logarithm of the expected count, averaged over the entries.
        target: the same shape; counts, at least 0.

    Returns:
        A scalar in nats, up to the term left out. NaN for a negative target.

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
    return jnp.mean(jnp.where(t >= 0, jnp.exp(z) - t * z, jnp.nan))


def gaussian_nll(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """Minus the log-likelihood under a normal law whose mean and log-variance are both predicted.

    (log 2π + s + (t - m)²·exp(-s)) / 2 for the mean m and the log-variance s.

    Args:
        prediction: [..., 2]: mean, and log-variance; such as the output of `fn.MLP((4, 16, 2))`.
        target: [...], averaged over its entries.

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if the prediction is not of the target's shape and an axis of 2.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.gaussian_nll(jnp.array([1.0, 0.0]), jnp.array(1.0))), 4)
        0.9189
        >>> round(float(fn.losses.gaussian_nll(jnp.array([0.0, 0.0]), jnp.array(1.0))), 4)
        1.4189

    Source: Nix, Weigend, "Estimating the mean and variance of the target probability distribution",
    1994.
    """
    p = floating(prediction)
    if p.shape != (*jnp.shape(target), 2):
        raise ValueError(
            "gaussian_nll wants a mean and a log-variance for each target, a prediction [..., 2]; got a "
            f"prediction of shape {p.shape} and a target of shape {jnp.shape(target)} for one example."
        )
    mean, log_variance = p[..., 0], p[..., 1]
    # A scale whose own logarithm stays in range: no error times an infinite one would be NaN.
    most = math.log(jnp.finfo(p.dtype).max) - 1
    scaled = (jnp.asarray(target).astype(p.dtype) - mean) * jnp.exp(jnp.minimum(-log_variance / 2, most))
    return jnp.mean((math.log(2 * math.pi) + log_variance + scaled**2) / 2)


def kl_divergence(logits: ArrayLike, target: ArrayLike) -> Scalar:
    """The Kullback-Leibler divergence Σ t·log(t / p) of softmax(logits) from probabilities.

    It is `cross_entropy` less the target's own entropy, so 0 where both agree.

    Args:
        logits: [..., classes]; log-probabilities are logits, too. Leading axes are averaged.
        target: probabilities of the same shape; where one is 0, the logit may be anything.

    Returns:
        A scalar in nats.

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
            "kl_divergence wants probabilities [..., classes] as targets; got "
            f"{_check.describe(jnp.asarray(target))}. For class numbers use cross_entropy."
        )
    log_p = jax.nn.log_softmax(z, axis=-1)
    # optax's 0·(0 - log p) is not a number where a logit is masked by -inf.
    counts = t > 0
    ratio = jnp.log(jnp.where(counts, t, 1)) - jnp.where(counts, log_p, 0)
    return jnp.mean(jnp.sum(t * ratio, axis=-1))

"""Regression losses: distances between a prediction and a target."""

import math

import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._compare import absolute_error as absolute_error
from funcnet._compare import broadcast_setting, keep_digits, pair
from funcnet._types import ArrayLike, Scalar


@keep_digits
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
    p, t = pair("squared_error", prediction, target)
    return jnp.mean(optax.losses.squared_error(p, t))


@keep_digits
def huber(prediction: ArrayLike, target: ArrayLike, *, delta: ArrayLike = 1.0) -> Scalar:
    """Huber's loss: e²/2 for |e| ≤ delta, else delta·(|e| - delta/2), averaged over the entries.

    The gradient of an outlier is bounded. To set delta: `functools.partial(fn.losses.huber, delta=2.0)`.

    Args:
        prediction: any shape, in units u.
        target: the same shape.
        delta: the error at which the loss becomes linear, in u, above 0; one number, or one for each
            entry. It may be traced.

    Returns:
        A scalar in u².

    Raises:
        ValueError: if the shapes differ, or delta is not above 0.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> float(fn.losses.huber(jnp.array(0.5), jnp.array(0.0)))
        0.125
        >>> float(fn.losses.huber(jnp.array(3.0), jnp.array(0.0)))
        2.5

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    delta = _check.setting("delta", delta, 0, float("inf"))
    p, t = pair("huber", prediction, target)
    return jnp.mean(optax.losses.huber_loss(p, t, delta=broadcast_setting("delta", delta, p)))


@keep_digits
def log_cosh(prediction: ArrayLike, target: ArrayLike) -> Scalar:
    """The logarithm of the hyperbolic cosine of the error, log cosh(p - t), averaged over the entries.

    About e²/2 for small errors and |e| - log 2 for large ones, and smooth throughout.

    Args:
        prediction: any shape.
        target: the same shape.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.log_cosh(jnp.array(1.0), jnp.array(0.0))), 4)
        0.4338
        >>> float(fn.losses.log_cosh(jnp.array(1e4), jnp.array(0.0)))
        9999.306640625

    Source: Green, "Bayesian reconstructions from emission tomography data using a modified EM
    algorithm", 1990.
    """
    p, t = pair("log_cosh", prediction, target)
    error = p - t
    magnitude = jnp.abs(error)
    # optax's log(eᵉ + e⁻ᵉ) - log 2 loses all digits if e² is below the precision of 1.
    small = jnp.log1p(2 * jnp.sinh(jnp.where(magnitude < 1, error, 0) / 2) ** 2)
    large = magnitude + jnp.log1p(jnp.exp(-2 * magnitude)) - math.log(2)
    return jnp.mean(jnp.where(magnitude < 1, small, large))


@keep_digits
def quantile(prediction: ArrayLike, target: ArrayLike, *, q: ArrayLike) -> Scalar:
    """The pinball loss, minimal at the q-quantile: q·(t - p) if t ≥ p, else (1 - q)·(p - t).

    Set q by `functools.partial(fn.losses.quantile, q=0.9)`. For several quantiles at once use a prediction
    and a target with an entry for each, and `q=jnp.array([0.1, 0.5, 0.9])`.

    Args:
        prediction: any shape, in units u. The loss is averaged over the entries.
        target: the same shape.
        q: the quantile, between 0 and 1; one number, or one for each entry. It may be traced.

    Returns:
        A scalar in u.

    Raises:
        ValueError: if the shapes differ, or q is not between 0 and 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> round(float(fn.losses.quantile(jnp.array(0.0), jnp.array(2.0), q=0.9)), 4)
        1.8
        >>> round(float(fn.losses.quantile(jnp.array(2.0), jnp.array(0.0), q=0.9)), 4)
        0.2

    Source: Koenker, Bassett, "Regression quantiles", Econometrica 46, 1978.
    """
    q = _check.setting("q", q, 0, 1)
    p, t = pair("quantile", prediction, target)
    level = broadcast_setting("q", q, p)
    return jnp.mean(jnp.maximum(level * (t - p), (level - 1) * (t - p)))

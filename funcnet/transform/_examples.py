"""Gradients example by example, and what is made of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._types import Array, PyTree
from funcnet.layers._dtype import wide
from funcnet.transform._jaxpr import holds
from funcnet.transform._products import check_floating, scalar
from funcnet.transform._through import shortened

OfExample = Callable[[PyTree, PyTree], Array]
"""`f(x, example) -> scalar`, for example `lambda model, example: loss(model, example, key)`."""


def per_example_grads(f: OfExample) -> Callable[[PyTree, PyTree], PyTree]:
    """The gradient of each example by itself.

    Args:
        f: `f(x, example) -> scalar`, differentiated by x.

    Returns:
        `(x, examples [n, ...]) -> gradients`, in the shape of x with a leading axis [n].

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> grads = fn.transform.per_example_grads(lambda w, x: (w * x) ** 2)
        >>> grads(jnp.array(1.0), jnp.array([1.0, 2.0, 3.0])).tolist()
        [2.0, 8.0, 18.0]
    """
    _check.function("f", f, "f(x, example) -> scalar")

    def compute(x: PyTree, examples: PyTree) -> PyTree:
        check_floating(x)
        return jax.vmap(jax.grad(lambda x, e: scalar(f(x, e))), in_axes=(None, 0))(x, examples)

    return compute


def clipped_mean_grad(
    f: OfExample, norm: float | Array
) -> Callable[[PyTree, PyTree], tuple[PyTree, Array]]:
    """The mean of per-example gradients, each cut to a length of `norm` at most; and their lengths.

    With noise of standard deviation z · norm / n added it is the step of differentially private descent.

    Args:
        f: `f(x, example) -> scalar`.
        norm: the greatest length, above 0.

    Returns:
        `(x, examples [n, ...]) -> (mean in the shape of x, lengths before clipping [n])`.

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> clipped = fn.transform.clipped_mean_grad(lambda w, x: w * x, 1.0)
        >>> mean, lengths = clipped(jnp.array(1.0), jnp.array([0.5, 9.0]))
        >>> float(mean), lengths.tolist()
        (0.75, [0.5, 9.0])

    Source: Abadi et al., "Deep learning with differential privacy", 2016.
    """
    grads_of = per_example_grads(f)

    def compute(x: PyTree, examples: PyTree) -> tuple[PyTree, Array]:
        grads = grads_of(x, examples)
        lengths = jax.vmap(lambda g: optax.tree.norm(jax.tree.map(wide, g)))(grads)

        def near() -> Array:
            return jnp.minimum(1.0, norm / jnp.maximum(lengths.astype(float), jnp.finfo(float).tiny))

        def far() -> Array:
            return jax.vmap(lambda g: shortened(g, norm))(grads_of(x, examples))

        # XLA adds up squares of outer products without writing them down, but not what can't overflow.
        factor = jax.lax.cond(jnp.all(jnp.isfinite(lengths)), near, far) / len(lengths)
        if _may_bend(f, x, examples):
            return jax.tree.map(lambda g: jnp.tensordot(factor.astype(g.dtype), g, 1), grads), lengths
        values, back = jax.vjp(lambda x: jax.vmap(lambda e: scalar(f(x, e)))(examples), x)
        return back(factor.astype(values.dtype))[0], lengths

    return compute


def _may_bend(f: OfExample, x: PyTree, examples: PyTree) -> bool:
    """Whether a gradient may be other than in proportion to the slope that comes in, as in `clip_gradient`."""
    from jax.extend.core.primitives import custom_vjp_call_p

    traced = jax.make_jaxpr(f)(x, jax.tree.map(lambda a: a[0], examples))
    return holds(traced.jaxpr, custom_vjp_call_p)


def microbatched_value_and_grad(f: OfExample, size: int) -> Callable[..., tuple[Array, PyTree]]:
    """Value and gradient of the weighted mean over examples, `size` of them in memory at a time.

    Sums and weights are carried and divided once: the result is that of all at once, short tails included.

    Args:
        f: `f(x, example) -> scalar`.
        size: examples at a time, at least 1.

    Returns:
        `(x, examples [n, ...], weight [n] or None) -> (mean, gradient in the shape of x)`.

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.
        ValueError: if `size` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> both = fn.transform.microbatched_value_and_grad(lambda w, x: w * x, 2)
        >>> value, slope = both(jnp.array(3.0), jnp.array([1.0, 2.0, 6.0]))
        >>> float(value), float(slope)
        (9.0, 3.0)
    """
    _check.function("f", f, "f(x, example) -> scalar")
    _check.positive("size", size)

    def compute(x: PyTree, examples: PyTree, weight: Array | None = None) -> tuple[Array, PyTree]:
        check_floating(x)
        n = len(jax.tree.leaves(examples)[0])
        weight = jnp.ones(n) if weight is None else jnp.asarray(weight)
        count = -(-n // size)
        rows = jnp.minimum(jnp.arange(count * size), n - 1)
        # A row of weight 0 may hold anything: one that counts stands in for it.
        rows = jnp.where(weight[rows] > 0, rows, jnp.argmax(weight > 0)).reshape(count, size)
        position = jnp.arange(count * size).reshape(count, size)
        counts = jnp.where(position < n, weight[jnp.minimum(position, n - 1)], 0)

        def total(x: PyTree, row: Array, share: Array) -> Array:
            values = jax.vmap(lambda e: scalar(f(x, e)))(jax.tree.map(lambda a: a[row], examples))
            return jnp.sum(share.astype(values.dtype) * values)

        def one(carry: Any, part: tuple[Array, Array]) -> tuple[Any, None]:
            found = jax.value_and_grad(total)(x, *part)
            return jax.tree.map(lambda sums, new: sums + new.astype(sums.dtype), carry, found), None

        shapes = jax.eval_shape(jax.value_and_grad(total), x, rows[0], counts[0])
        wide = lambda s: jnp.zeros(s.shape, s.dtype if s.dtype.itemsize >= 4 else jnp.float32)  # noqa: E731
        (value, slope), _ = jax.lax.scan(one, jax.tree.map(wide, shapes), (rows, counts))
        mass = jnp.sum(weight)
        means = jax.tree.map(lambda total: total / mass.astype(total.dtype), (value, slope))
        return jax.tree.map(lambda mean, s: mean.astype(s.dtype), means, shapes)

    return compute


def gradient_noise_scale(f: OfExample) -> Callable[[PyTree, PyTree], Array]:
    """The gradient's noise scale tr(Σ) / |G|², in examples: batches far below it learn little by each step,
    batches far above it waste examples.

    Both parts are unbiased: Σ with n - 1, and |G|² as |mean|² - tr(Σ) / n.

    Args:
        f: `f(x, example) -> scalar`.

    Returns:
        `(x, examples [n, ...]) -> scalar`; infinite where the mean gradient is lost in the noise.

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> scale = fn.transform.gradient_noise_scale(lambda w, x: w * x)
        >>> round(float(scale(jnp.array(0.0), jnp.array([9.0, 10.0, 11.0]))), 4)
        0.01

    Source: McCandlish, Kaplan, Amodei, "An empirical model of large-batch training", 2018.
    """
    grads_of = per_example_grads(f)

    def compute(x: PyTree, examples: PyTree) -> Array:
        leaves = [g.reshape(len(g), -1) for g in jax.tree.leaves(grads_of(x, examples))]
        n = len(leaves[0])
        spread = sum(jnp.sum(jnp.var(g, axis=0, ddof=1)) for g in leaves)
        length = sum(jnp.sum(jnp.mean(g, axis=0) ** 2) for g in leaves) - spread / n
        return jnp.where(length > 0, spread / jnp.where(length > 0, length, 1), jnp.inf)

    return compute

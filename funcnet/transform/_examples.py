"""Per-example gradients, and statistics of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check
from funcnet._types import Array, PyTree
from funcnet.layers._dtype import wide
from funcnet.transform._jaxpr import contains
from funcnet.transform._products import check_floating, scalar
from funcnet.transform._through import clip_factor

OfExample = Callable[[PyTree, PyTree], Array]
"""`f(x, example) -> scalar`, for example `lambda model, example: loss(model, example, key)`."""


def per_example_grads(f: OfExample) -> Callable[[PyTree, PyTree], PyTree]:
    """The gradient of each example.

    Args:
        f: `f(x, example) -> scalar`, differentiated by x.

    Returns:
        `(x, examples [n, ...]) -> gradients`, in the structure of x, each leaf with a leading axis [n].

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.

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
    """The mean of per-example gradients, each clipped to a global norm of at most `norm`, and their norms.

    With added noise of standard deviation z · norm / n it is the gradient of differentially private SGD.

    Args:
        f: `f(x, example) -> scalar`.
        norm: the maximum norm of an example's gradient; positive.

    Returns:
        `(x, examples [n, ...]) -> (mean in the shape of x, norms before clipping [n])`.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> clipped = fn.transform.clipped_mean_grad(lambda w, x: w * x, 1.0)
        >>> mean, norms = clipped(jnp.array(1.0), jnp.array([0.5, 9.0]))
        >>> float(mean), norms.tolist()
        (0.75, [0.5, 9.0])

    Source: Abadi et al., "Deep learning with differential privacy", 2016.
    """
    grads_of = per_example_grads(f)

    def compute(x: PyTree, examples: PyTree) -> tuple[PyTree, Array]:
        grads = grads_of(x, examples)
        norms = jax.vmap(lambda g: optax.tree.norm(jax.tree.map(wide, g)))(grads)

        def from_norms() -> Array:
            return jnp.minimum(1.0, norm / jnp.maximum(norms.astype(float), jnp.finfo(float).tiny))

        def without_overflow() -> Array:
            return jax.vmap(lambda g: clip_factor(g, norm))(grads_of(x, examples))

        # XLA sums squares of outer products without storing the products, unless they must not overflow.
        factor = jax.lax.cond(jnp.all(jnp.isfinite(norms)), from_norms, without_overflow) / len(norms)
        if _may_be_nonlinear(f, x, examples):
            return jax.tree.map(lambda g: jnp.tensordot(factor.astype(g.dtype), g, 1), grads), norms
        values, vjp = jax.vjp(lambda x: jax.vmap(lambda e: scalar(f(x, e)))(examples), x)
        return vjp(factor.astype(values.dtype))[0], norms

    return compute


def _may_be_nonlinear(f: OfExample, x: PyTree, examples: PyTree) -> bool:
    """Whether a backward pass may not be linear in its cotangent, as that of `clip_gradient` is not."""
    from jax.extend.core.primitives import custom_vjp_call_p

    program = jax.make_jaxpr(f)(x, jax.tree.map(lambda a: a[0], examples))
    return contains(program.jaxpr, custom_vjp_call_p)


def microbatched_value_and_grad(f: OfExample, size: int) -> Callable[..., tuple[Array, PyTree]]:
    """Value and gradient of the weighted mean over examples, computed in microbatches of `size`.

    Sums are accumulated and divided by the total weight once: the result is that of the whole batch, also
    if the last microbatch is smaller.

    Args:
        f: `f(x, example) -> scalar`.
        size: examples in a microbatch, at least 1.

    Returns:
        `(x, examples [n, ...], weight [n] or None) -> (mean, gradient in the shape of x)`.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.
        ValueError: if `size` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> value_and_grad = fn.transform.microbatched_value_and_grad(lambda w, x: w * x, 2)
        >>> value, gradient = value_and_grad(jnp.array(3.0), jnp.array([1.0, 2.0, 6.0]))
        >>> float(value), float(gradient)
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
        # A row of weight 0 may hold anything, such as NaN: a row of positive weight replaces it.
        rows = jnp.where(weight[rows] > 0, rows, jnp.argmax(weight > 0)).reshape(count, size)
        position = jnp.arange(count * size).reshape(count, size)
        weights = jnp.where(position < n, weight[jnp.minimum(position, n - 1)], 0)

        def weighted_sum(x: PyTree, rows: Array, weights: Array) -> Array:
            values = jax.vmap(lambda e: scalar(f(x, e)))(jax.tree.map(lambda a: a[rows], examples))
            return jnp.sum(weights.astype(values.dtype) * values)

        def accumulate(sums: Any, microbatch: tuple[Array, Array]) -> tuple[Any, None]:
            terms = jax.value_and_grad(weighted_sum)(x, *microbatch)
            return jax.tree.map(lambda total, term: total + term.astype(total.dtype), sums, terms), None

        structs = jax.eval_shape(jax.value_and_grad(weighted_sum), x, rows[0], weights[0])
        wide = lambda s: jnp.zeros(s.shape, s.dtype if s.dtype.itemsize >= 4 else jnp.float32)  # noqa: E731
        sums, _ = jax.lax.scan(accumulate, jax.tree.map(wide, structs), (rows, weights))
        total_weight = jnp.sum(weight)
        means = jax.tree.map(lambda total: total / total_weight.astype(total.dtype), sums)
        return jax.tree.map(lambda mean, s: mean.astype(s.dtype), means, structs)

    return compute


def gradient_noise_scale(f: OfExample) -> Callable[[PyTree, PyTree], Array]:
    """The gradient's noise scale tr(Σ) / |G|², in examples.

    In much smaller batches noise dominates each step; in much larger batches more examples hardly help.
    Both parts are unbiased: Σ is divided by n - 1, and |G|² is |mean|² - tr(Σ) / n.

    Args:
        f: `f(x, example) -> scalar`.

    Returns:
        `(x, examples [n, ...]) -> scalar`; infinite if the estimate of |G|² is not positive.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.

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
        variance = sum(jnp.sum(jnp.var(g, axis=0, ddof=1)) for g in leaves)
        square = sum(jnp.sum(jnp.mean(g, axis=0) ** 2) for g in leaves) - variance / n
        return jnp.where(square > 0, variance / jnp.where(square > 0, square, 1), jnp.inf)

    return compute

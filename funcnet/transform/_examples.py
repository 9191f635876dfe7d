"""Per-example gradients, and statistics of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _tree
from funcnet._metric import relative
from funcnet._types import Array, PyTree
from funcnet.layers._dtype import wide
from funcnet.transform._arguments import scalar, to_examples, to_floating
from funcnet.transform._jaxpr import contains
from funcnet.transform._scale import magnitude
from funcnet.transform._through import clip_tree

OfExample = Callable[[PyTree, PyTree], Array]
"""`f(x, example) -> scalar`, for example `lambda model, example: loss(model, example, key)`."""
BLOCK_OF_ROWS = 512
"""Rows that are added one after another."""


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
    _check.takes("f", f, "a function f(x, example) -> scalar", None, None)

    def compute(x: PyTree, examples: PyTree) -> PyTree:
        x, (examples, _) = to_floating("x", x), to_examples("examples", examples)
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
        `(x, examples [n, ...]) -> (mean in the shape of x, norms before clipping [n])`. A norm below
        1e-19 may be reported as 0.

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
    norm = _check.scalar_setting("norm", norm, 0.0, float("inf"))

    def compute(x: PyTree, examples: PyTree) -> tuple[PyTree, Array]:
        x, (examples, n) = to_floating("x", x), to_examples("examples", examples)
        norms = jax.vmap(lambda g: optax.tree.norm(jax.tree.map(wide, g)))(grads_of(x, examples))
        limits = jnp.finfo(norms.dtype)
        # A half-precision cotangent factor / n would lose digits, or vanish.
        half = any(leaf.dtype.itemsize < 4 for leaf in jax.tree.leaves(x))
        stored = half or _may_be_nonlinear(f, x, examples)

        def from_norms() -> tuple[PyTree, Array]:
            factor = jnp.minimum(1.0, norm / jnp.maximum(norms.astype(float), jnp.finfo(float).tiny)) / n
            if stored:
                return jax.tree.map(lambda g: _weight_rows(factor, g), grads_of(x, examples)), norms
            values, vjp = jax.vjp(lambda x: jax.vmap(lambda e: scalar(f(x, e)))(examples), x)
            return vjp(factor.astype(values.dtype))[0], norms

        def from_scaled() -> tuple[PyTree, Array]:
            clipped, exact = jax.vmap(lambda g: clip_tree(g, norm))(grads_of(x, examples))
            share = jnp.full(n, 1 / n, norms.dtype)
            return jax.tree.map(lambda g: _weight_rows(share, g), clipped), exact.astype(norms.dtype)

        # XLA sums squares of outer products without storing these, unless squares overflow or vanish.
        vanishing = float(limits.tiny) ** 0.5 / float(limits.eps)
        smallest = jnp.where(norm < vanishing, -1, 0)
        vanished = (norms > smallest) & (norms < vanishing)
        return jax.lax.cond(jnp.all(jnp.isfinite(norms) & ~vanished), from_norms, from_scaled)

    return compute


def _weight_rows(weight: Array, leaf: Array) -> Array:
    """The sum of the rows of a leaf [n, ...] with weights [n], in at least float32.

    In blocks: one after another, 70,000 equal terms would lose three digits of float32.
    """
    terms = wide(leaf)
    weight = weight.astype(terms.dtype)
    count = len(weight) // BLOCK_OF_ROWS
    whole = count * BLOCK_OF_ROWS
    blocks = (
        weight[:whole].reshape(count, BLOCK_OF_ROWS),
        terms[:whole].reshape(count, BLOCK_OF_ROWS, *leaf.shape[1:]),
    )
    sums = jax.vmap(lambda weight, terms: jnp.tensordot(weight, terms, 1))(*blocks)
    return (jnp.sum(sums, axis=0) + jnp.tensordot(weight[whole:], terms[whole:], 1)).astype(leaf.dtype)


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
        ValueError: if `size` is below 1, or a weight is negative or not finite, or all are 0.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> value_and_grad = fn.transform.microbatched_value_and_grad(lambda w, x: w * x, 2)
        >>> value, gradient = value_and_grad(jnp.array(3.0), jnp.array([1.0, 2.0, 6.0]))
        >>> float(value), float(gradient)
        (9.0, 3.0)
    """
    _check.takes("f", f, "a function f(x, example) -> scalar", None, None)
    size = _check.positive("size", size)

    def compute(x: PyTree, examples: PyTree, weight: Array | None = None) -> tuple[Array, PyTree]:
        x, (examples, n) = to_floating("x", x), to_examples("examples", examples)
        weight = jnp.ones(n) if weight is None else wide(_to_weights(weight, n))
        rows_at_once = min(size, n)
        count = -(-n // rows_at_once)
        position = jnp.arange(count * rows_at_once)
        rows = jnp.minimum(position, n - 1)
        # A row of weight 0 may hold anything, such as NaN: a row of positive weight replaces it.
        rows = jnp.where(weight[rows] > 0, rows, jnp.argmax(weight > 0)).reshape(count, rows_at_once)
        weights = jnp.where(position < n, weight[jnp.minimum(position, n - 1)], 0).reshape(rows.shape)

        def weighted_sum(x: PyTree, rows: Array, weights: Array) -> Array:
            values = wide(jax.vmap(lambda e: scalar(f(x, e)))(jax.tree.map(lambda a: a[rows], examples)))
            return jnp.sum(weights.astype(values.dtype) * values)

        def sums_of(x: PyTree, rows: Array, weights: Array) -> tuple[Array, PyTree]:
            if all(leaf.dtype.itemsize >= 4 for leaf in jax.tree.leaves(x)):
                return jax.value_and_grad(weighted_sum)(x, rows, weights)
            # In half precision each example's gradient is widened before it is added.
            chosen = jax.tree.map(lambda a: a[rows], examples)
            of_one = jax.value_and_grad(lambda x, e: scalar(f(x, e)))
            terms = jax.tree.map(wide, jax.vmap(of_one, in_axes=(None, 0))(x, chosen))
            return jax.tree.map(lambda part: _weight_rows(weights, part), terms)

        def accumulate(sums: Any, microbatch: tuple[Array, Array]) -> tuple[Any, None]:
            return _tree.add(sums, sums_of(x, *microbatch)), None

        structs = jax.eval_shape(sums_of, x, rows[0], weights[0])
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), structs)
        sums, _ = jax.lax.scan(accumulate, zeros, (rows, weights))
        total_weight = jnp.sum(weight)
        value, gradient = jax.tree.map(lambda total: total / total_weight.astype(total.dtype), sums)
        return value, jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), gradient, x)

    return compute


def _to_weights(weight: Any, n: int) -> Array:
    """The weights of n examples; if they are concrete, finite, at least 0, not all 0, and in any unit."""
    _check.weight_type(weight)
    weight = _check.array("weight", weight)
    if weight.shape != (n,):
        raise ValueError(f"weight must be one number for each of {n} examples, got shape {weight.shape}.")
    if not _tree.is_concrete(weight):
        return weight
    values = np.asarray(weight).astype(np.float64)
    _check.weights(values)
    return jnp.asarray(relative(values))


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
        ValueError: for a single example.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> scale = fn.transform.gradient_noise_scale(lambda w, x: w * x)
        >>> round(float(scale(jnp.array(0.0), jnp.array([9.0, 10.0, 11.0]))), 4)
        0.01

    Source: McCandlish, Kaplan, Amodei, "An empirical model of large-batch training", 2018.
    """
    grads_of = per_example_grads(f)

    def compute(x: PyTree, examples: PyTree) -> Array:
        examples, n = to_examples("examples", examples)
        if n < 2:
            raise ValueError(f"examples must be at least 2 for a variance, got {n}.")
        leaves = [wide(g.reshape(n, -1)) for g in jax.tree.leaves(grads_of(x, examples))]
        # The ratio has no unit: scaled by the largest gradient, no square overflows or vanishes.
        unit = magnitude(*leaves)
        leaves = [g / unit.astype(g.dtype) for g in leaves]
        variance = sum(jnp.sum(jnp.var(g, axis=0, ddof=1)) for g in leaves)
        square = sum(jnp.sum(jnp.mean(g, axis=0) ** 2) for g in leaves) - variance / n
        return jnp.where(square <= 0, jnp.inf, variance / jnp.where(square <= 0, 1, square))

    return compute

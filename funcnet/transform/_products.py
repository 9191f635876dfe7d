"""Jacobians, products with Hessians, diagonals and eigenpairs, without the whole matrix."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from funcnet import _check
from funcnet._types import Array, Key, PyTree
from funcnet.layers._dtype import wide
from funcnet.transform._arguments import check_floating, scalar, to_alike, to_floating
from funcnet.transform._scale import magnitude, scaled_norm


def hvp(f: Callable[..., Array]) -> Callable[..., PyTree]:
    """Hessian-vector products of a scalar function: forward over reverse, at the cost of two gradients.

    Args:
        f: `f(x, *others) -> scalar`; differentiated by its first argument, a pytree of floating arrays.

    Returns:
        `(x, v, *others) -> H(x) v`, in the shape of x.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, if x has non-floating leaves, or if v
            does not have the structure and shapes of x.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> product = fn.transform.hvp(lambda x: jnp.sum(x**3))
        >>> product(jnp.array([1.0, 2.0]), jnp.array([1.0, 10.0])).tolist()
        [6.0, 120.0]

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    _check.function("f", f, "a scalar function of arrays")

    def product(x: PyTree, v: PyTree, *others: Any) -> PyTree:
        _check.takes("f", f, "a function f(x, *others) -> scalar", x, *others)
        x = to_floating("x", x)
        v = to_alike("v", v, "x", x)
        gradient = jax.grad(lambda x: scalar(f(x, *others)))
        return jax.jvp(gradient, (x,), (v,))[1]

    return product


def ggnvp(outputs: Callable[..., PyTree], loss: Callable[[PyTree], Array]) -> Callable[..., PyTree]:
    """Products of the generalized Gauss-Newton matrix Jᵀ H J and a vector; semidefinite for a convex loss.

    Args:
        outputs: `outputs(x, *others)`, a model's predictions by its parameters x; J is its Jacobian.
        loss: `loss(outputs) -> scalar`; H is its Hessian.

    Returns:
        `(x, v, *others) -> Jᵀ H J v`, in the shape of x.

    Raises:
        TypeError: if a function is not callable or the loss does not return a scalar, or if v does not have
            the structure and shapes of x.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> product = fn.transform.ggnvp(lambda w: w**2, lambda y: jnp.sum(y**2))
        >>> product(jnp.array([1.0, 3.0]), jnp.ones(2)).tolist()  # (2 w)² · 2
        [8.0, 72.0]

    Source: Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
    """
    _check.function("outputs", outputs, "a function of parameters")
    _check.takes("loss", loss, "a scalar function of outputs", None)

    def product(x: PyTree, v: PyTree, *others: Any) -> PyTree:
        _check.takes("outputs", outputs, "a function outputs(x, *others)", x, *others)
        x = to_floating("x", x)
        v = to_alike("v", v, "x", x)

        def of_x(x: PyTree) -> PyTree:
            y = _check.results("outputs", outputs(x, *others))
            check_floating(y, "the result of outputs")
            return y

        y, y_dot = jax.jvp(of_x, (x,), (v,))
        _, vjp = jax.vjp(of_x, x)
        return vjp(jax.jvp(jax.grad(lambda y: scalar(loss(y), "loss")), (y,), (y_dot,))[1])[0]

    return product


def jacobian(f: Callable[..., PyTree], *, chunk: int | None = None) -> Callable[..., PyTree]:
    """The Jacobian, in forward mode if there are more outputs than inputs, else in reverse mode.

    Args:
        f: `f(x, *others)`, from and to pytrees of floating arrays; differentiated by its first argument.
        chunk: rows or columns computed at a time, by default all. Fewer need less memory.

    Returns:
        `(x, *others) -> J`: for each leaf of the output, of shape s, the tree of x with leaves [*s, *leaf].

    Raises:
        TypeError: if `f` is not callable, or x or the output has non-floating leaves.
        ValueError: if `chunk` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.jacobian(lambda x: jnp.stack([x[0] * x[1], x[0]]))(jnp.array([2.0, 3.0])).tolist()
        [[3.0, 2.0], [1.0, 0.0]]
    """
    _check.function("f", f, "a function of arrays")
    if chunk is not None:
        chunk = _check.count("chunk", chunk)

    def compute(x: PyTree, *others: Any) -> PyTree:
        _check.takes("f", f, "a function f(x, *others)", x, *others)
        x = to_floating("x", x)
        of_x = lambda x: _check.results("f", f(x, *others))  # noqa: E731
        flat, unravel = ravel_pytree(x)
        structs = jax.eval_shape(of_x, x)
        check_floating(structs, "the result of f")
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), structs)
        out = ravel_pytree(zeros)[0]

        def flat_f(flat: Array) -> Array:
            return ravel_pytree(of_x(unravel(flat)))[0]

        if flat.size < out.size:
            jvp = lambda e: jax.jvp(flat_f, (flat,), (e,))[1]  # noqa: E731
            matrix = _map_unit_vectors(jvp, flat.size, flat.dtype, chunk).T
        else:
            _, vjp = jax.vjp(flat_f, flat)
            matrix = _map_unit_vectors(lambda e: vjp(e)[0], out.size, out.dtype, chunk)
        # Columns of the matrix become leaves of x, then its rows leaves of the output.
        by_x = jax.vmap(unravel)(matrix)
        return jax.tree.transpose(
            jax.tree.structure(x),
            jax.tree.structure(zeros),
            jax.tree.map(lambda leaf: _unravel_rows(leaf, zeros), by_x),
        )

    return compute


def hessian_diag(
    f: Callable[..., Array], *, key: Key | None = None, samples: int = 100, chunk: int | None = None
) -> Callable[..., PyTree]:
    """The diagonal of the Hessian of a scalar function.

    Args:
        f: `f(x, *others) -> scalar`.
        key: by default None: the exact diagonal, by one Hessian product for each entry of x. With a PRNG
            key: Hutchinson's estimate, the mean of v · Hv over vectors v of random signs.
        samples: the number of those vectors.
        chunk: products computed at a time, by default all.

    Returns:
        `(x, *others) -> diag H(x)`, in the shape of x.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.
        ValueError: if `samples` or `chunk` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.hessian_diag(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 5.0])).tolist()
        [10.0, 0.0]

    Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990; Bekas,
    Kokiopoulou, Saad, "An estimator for the diagonal of a matrix", 2007.
    """
    _check.function("f", f, "a scalar function of arrays")
    if key is not None:
        _check.key(key)
    samples = _check.repeats("samples", samples)
    if chunk is not None:
        chunk = _check.count("chunk", chunk)

    def compute(x: PyTree, *others: Any) -> PyTree:
        _check.takes("f", f, "a function f(x, *others) -> scalar", x, *others)
        x = to_floating("x", x)
        flat, unravel = ravel_pytree(x)
        product = hvp(lambda flat: f(unravel(flat), *others))
        if key is None:
            # Not a product: 0 times another entry that is infinite is NaN.
            entry = lambda e: jnp.sum(jnp.where(e != 0, product(flat, e), 0.0))  # noqa: E731
            return unravel(_map_unit_vectors(entry, flat.size, flat.dtype, chunk))
        _check.fits_in_memory(
            f"samples={samples} random vectors", samples * flat.size * flat.dtype.itemsize
        )
        signs = jax.random.rademacher(key, (samples, flat.size), flat.dtype)
        estimates = jax.lax.map(lambda v: v * product(flat, v), signs, batch_size=chunk or samples)
        return unravel(jnp.mean(estimates, 0))

    return compute


def eigenpairs(
    matvec: Callable[[PyTree], PyTree],
    like: PyTree,
    key: Key,
    *,
    count: int = 1,
    iterations: int | None = None,
) -> tuple[Array, PyTree]:
    """The eigenvalues of largest magnitude of a symmetric linear map, and their eigenvectors, by Lanczos.

    Args:
        matvec: `v -> A v` on pytrees, such as `functools.partial(fn.transform.hvp(f), x)`.
        like: a tree in the shape of v; its values are not used.
        key: draws the start vector.
        count: the number of pairs, at least 1.
        iterations: products with A; by default 10 + 5 · count, at most the size of v. More are
            more accurate.

    Returns:
        (values [count] by decreasing magnitude, eigenvectors of norm 1 with a leading axis [count]).

    Raises:
        TypeError: if `matvec` is not callable, `like` has non-floating leaves, or `key` is not a PRNG key.
        ValueError: if `count` is below 1 or above the number of entries.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> scale = jnp.array([1.0, -5.0, 2.0])
        >>> key = jax.random.key(0)
        >>> values, vectors = fn.transform.eigenpairs(lambda v: scale * v, scale, key, count=2)
        >>> values.round(4).tolist(), abs(vectors[0]).round(4).tolist()
        ([-5.0, 2.0], [0.0, 1.0, 0.0])

    Source: Lanczos, "An iteration method for the solution of the eigenvalue problem of linear differential
    and integral operators", 1950; with full reorthogonalisation.
    """
    _check.takes("matvec", matvec, "a function v -> A v", like)
    like = to_floating("like", like)
    _check.key(key)
    flat, unravel = ravel_pytree(like)
    own_dtype, flat = flat.dtype, wide(flat)
    count = _check.count("count", count)
    if count > flat.size:
        raise ValueError(f"count must be at most {flat.size}, the number of entries, got {count}.")
    if iterations is not None:
        iterations = _check.count("iterations", iterations)
    iterations = min(flat.size, 10 + 5 * count if iterations is None else max(iterations, count))
    start = jax.random.normal(key, flat.shape, flat.dtype)

    def times_matrix(v: Array) -> Array:
        product = to_alike("the result of matvec", matvec(unravel(v.astype(own_dtype))), "v", like)
        return ravel_pytree(product)[0].astype(v.dtype)

    def iteration(i: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        basis, alpha, beta, v = carry
        basis = basis.at[i].set(v)
        w = times_matrix(v)
        alpha = alpha.at[i].set(jnp.vdot(v, w))
        for _ in range(2):  # twice is enough
            w = w - basis.T @ (basis @ w)
        norm = scaled_norm(w)
        # If the Krylov space is exhausted, judged by the norm of A so far, a random vector orthogonal to it
        # continues; beta = 0 separates the two blocks.
        size = jnp.maximum(jnp.max(jnp.abs(alpha)), jnp.max(beta))
        exhausted = norm <= 100 * jnp.finfo(flat.dtype).eps * size
        fresh = jax.random.normal(jax.random.fold_in(key, i), flat.shape, flat.dtype)
        for _ in range(2):
            fresh = fresh - basis.T @ (basis @ fresh)
        beta = beta.at[i].set(jnp.where(exhausted, 0, norm))
        w = jnp.where(exhausted, fresh, w)
        w = w / magnitude(w)
        return basis, alpha, beta, w / jnp.linalg.norm(w)

    zeros = jnp.zeros(iterations, flat.dtype)
    basis = jnp.zeros((iterations, flat.size), flat.dtype)
    init = (basis, zeros, zeros, start / jnp.linalg.norm(start))
    basis, alpha, beta, _ = jax.lax.fori_loop(0, iterations, iteration, init)
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    order = jnp.argsort(-jnp.abs(values))[:count]
    vectors = (basis.T @ vectors[:, order]).T
    vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return values[order], jax.vmap(unravel)(vectors.astype(own_dtype))


def _map_unit_vectors(f: Callable[[Array], Array], size: int, dtype: Any, chunk: int | None) -> Array:
    """`f` of each unit vector [size], `chunk` of them at a time."""

    def of_unit(i: Array) -> Array:
        return f((jnp.arange(size) == i).astype(dtype))

    return jax.lax.map(of_unit, jnp.arange(size), batch_size=min(chunk or size, size) or None)


def _unravel_rows(leaf: Array, like: PyTree) -> PyTree:
    """[outputs, ...] split into the leaves of the output, each [*shape, ...]."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(part.shape) for part in leaves])[:-1].tolist()
    parts = [
        rows.reshape(*part.shape, *leaf.shape[1:])
        for rows, part in zip(jnp.split(leaf, ends), leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, parts)

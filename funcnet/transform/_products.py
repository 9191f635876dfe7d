"""Products with second derivatives, and Jacobians: no matrix larger than what is asked for."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from funcnet import _check
from funcnet._types import Array, Key, PyTree


def hvp(f: Callable[..., Array]) -> Callable[..., PyTree]:
    """The Hessian of a scalar function times a vector: forward over reverse, two gradients' work.

    Args:
        f: `f(x, *others) -> scalar`; differentiated by its first argument, a pytree of floating arrays.

    Returns:
        `(x, v, *others) -> H(x) v`, in the shape of x.

    Raises:
        TypeError: if `f` can't be called, gives no scalar, or x holds integers; or v is shaped otherwise.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> product = fn.transform.hvp(lambda x: jnp.sum(x**3))
        >>> product(jnp.array([1.0, 2.0]), jnp.array([1.0, 10.0])).tolist()
        [6.0, 120.0]

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.
    """
    _check.function("f", f, "a scalar function of arrays")

    def product(x: PyTree, v: PyTree, *others: Any) -> PyTree:
        check_floating(x)
        _check_alike(x, v)
        slope = jax.grad(lambda x: scalar(f(x, *others)))
        return jax.jvp(slope, (x,), (v,))[1]

    return product


def ggnvp(outputs: Callable[..., PyTree], loss: Callable[[PyTree], Array]) -> Callable[..., PyTree]:
    """The generalised Gauss-Newton matrix Jᵀ H J times a vector: positive where the loss is convex.

    Args:
        outputs: `outputs(x, *others)`: what a model predicts, by its parameters x.
        loss: of those outputs, a scalar; H is its Hessian.

    Returns:
        `(x, v, *others) -> Jᵀ H J v`, in the shape of x.

    Raises:
        TypeError: if a function can't be called or the loss is no scalar; or v is shaped otherwise than x.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> product = fn.transform.ggnvp(lambda w: w**2, lambda y: jnp.sum(y**2))
        >>> product(jnp.array([1.0, 3.0]), jnp.ones(2)).tolist()  # (2 w)² · 2
        [8.0, 72.0]

    Source: Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.
    """
    _check.function("outputs", outputs, "a function of parameters")
    _check.function("loss", loss, "a scalar function of outputs")

    def product(x: PyTree, v: PyTree, *others: Any) -> PyTree:
        check_floating(x)
        _check_alike(x, v)
        y, pushed = jax.jvp(lambda x: outputs(x, *others), (x,), (v,))
        _, back = jax.vjp(lambda x: outputs(x, *others), x)
        return back(jax.jvp(jax.grad(lambda y: scalar(loss(y))), (y,), (pushed,))[1])[0]

    return product


def jacobian(f: Callable[..., PyTree], *, chunk: int | None = None) -> Callable[..., PyTree]:
    """The Jacobian, forwards where there are more outputs than inputs, in reverse otherwise.

    Args:
        f: `f(x, *others)`, of and to pytrees of floating arrays; differentiated by its first argument.
        chunk: rows or columns that are computed together; all when left out. Fewer take less memory.

    Returns:
        `(x, *others) -> J`: for each leaf of the output, of shape s, the tree of x with leaves [*s, *leaf].

    Raises:
        TypeError: if `f` can't be called, or x or the output holds integers.
        ValueError: if `chunk` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.jacobian(lambda x: jnp.stack([x[0] * x[1], x[0]]))(jnp.array([2.0, 3.0])).tolist()
        [[3.0, 2.0], [1.0, 0.0]]
    """
    _check.function("f", f, "a function of arrays")
    if chunk is not None:
        _check.positive("chunk", chunk)

    def compute(x: PyTree, *others: Any) -> PyTree:
        check_floating(x)
        of_x = lambda x: f(x, *others)  # noqa: E731
        flat, back = ravel_pytree(x)
        shapes = jax.eval_shape(of_x, x)
        check_floating(shapes, "the output")
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        out = ravel_pytree(zeros)[0]

        def flat_f(flat: Array) -> Array:
            return ravel_pytree(of_x(back(flat)))[0]

        if flat.size < out.size:
            push = lambda e: jax.jvp(flat_f, (flat,), (e,))[1]  # noqa: E731
            matrix = _mapped(push, flat.size, flat.dtype, chunk).T
        else:
            _, pull = jax.vjp(flat_f, flat)
            matrix = _mapped(lambda e: pull(e)[0], out.size, out.dtype, chunk)
        # Rows to leaves of the output, columns to leaves of x.
        columns = jax.vmap(back)(matrix)
        return jax.tree.transpose(
            jax.tree.structure(x),
            jax.tree.structure(zeros),
            jax.tree.map(lambda a: _rows_of(a, zeros), columns),
        )

    return compute


def hessian_diag(
    f: Callable[..., Array], *, key: Key | None = None, samples: int = 100, chunk: int | None = None
) -> Callable[..., PyTree]:
    """The diagonal of the Hessian of a scalar function.

    Args:
        f: `f(x, *others) -> scalar`.
        key: None for the exact diagonal, one Hessian product for each number in x; with a key Hutchinson's
            estimate, the mean of v · Hv over random signs v.
        samples: how many of them.
        chunk: products that are computed together; all when left out.

    Returns:
        `(x, *others) -> diag H(x)`, in the shape of x.

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.
        ValueError: if `samples` or `chunk` is below 1.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> fn.transform.hessian_diag(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 5.0])).tolist()
        [10.0, 0.0]

    Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1990; Bekas,
    Kokiopoulou, Saad, "An estimator for the diagonal of a matrix", 2007.
    """
    _check.function("f", f, "a scalar function of arrays")
    _check.positive("samples", samples)
    if chunk is not None:
        _check.positive("chunk", chunk)

    def compute(x: PyTree, *others: Any) -> PyTree:
        check_floating(x)
        flat, back = ravel_pytree(x)
        times = hvp(lambda flat: f(back(flat), *others))
        if key is None:
            entry = lambda e: jnp.vdot(e, times(flat, e))  # noqa: E731
            return back(_mapped(entry, flat.size, flat.dtype, chunk))
        signs = jax.random.rademacher(key, (samples, flat.size), flat.dtype)
        return back(
            jnp.mean(jax.lax.map(lambda v: v * times(flat, v), signs, batch_size=chunk or samples), 0)
        )

    return compute


def eigenpairs(
    matvec: Callable[[PyTree], PyTree],
    like: PyTree,
    key: Key,
    *,
    count: int = 1,
    iterations: int | None = None,
) -> tuple[Array, PyTree]:
    """The eigenvalues of largest magnitude of a symmetric linear map, and their vectors: Lanczos.

    Args:
        matvec: `v -> A v` on pytrees: `functools.partial(fn.transform.hvp(f), x)`.
        like: a tree in the shape of v; its numbers play no part.
        key: draws the start.
        count: how many, at least 1.
        iterations: products with A; by default 10 + 5 · count, at most the size of v. More are more exact.

    Returns:
        (values [count] by falling magnitude, vectors of length 1 with a leading axis [count]).

    Raises:
        TypeError: if `matvec` can't be called or `like` holds integers.
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
    _check.function("matvec", matvec, "v -> A v")
    check_floating(like)
    _check.key(key)
    flat, back = ravel_pytree(like)
    _check.between("count", count, 1, flat.size)
    turns = min(flat.size, 10 + 5 * count if iterations is None else max(iterations, count))
    start = jax.random.normal(key, flat.shape, flat.dtype)

    def turn(i: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        basis, alpha, beta, v = carry
        basis = basis.at[i].set(v)
        w = ravel_pytree(matvec(back(v)))[0]
        alpha = alpha.at[i].set(jnp.vdot(v, w))
        for _ in range(2):  # twice is enough
            w = w - basis.T @ (basis @ w)
        norm = jnp.linalg.norm(w)
        # Where the space is exhausted, which is judged by the size of A as seen so far, anything orthogonal
        # to it goes on; beta 0 parts the two.
        size = jnp.maximum(jnp.max(jnp.abs(alpha)), jnp.max(beta))
        exhausted = norm <= 100 * jnp.finfo(flat.dtype).eps * size
        fresh = jax.random.normal(jax.random.fold_in(key, i), flat.shape, flat.dtype)
        for _ in range(2):
            fresh = fresh - basis.T @ (basis @ fresh)
        beta = beta.at[i].set(jnp.where(exhausted, 0, norm))
        w = jnp.where(exhausted, fresh, w)
        return basis, alpha, beta, w / jnp.linalg.norm(w)

    zeros = jnp.zeros(turns, flat.dtype)
    first = (jnp.zeros((turns, flat.size), flat.dtype), zeros, zeros, start / jnp.linalg.norm(start))
    basis, alpha, beta, _ = jax.lax.fori_loop(0, turns, turn, first)
    small = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    values, vectors = jnp.linalg.eigh(small)
    order = jnp.argsort(-jnp.abs(values))[:count]
    found = (basis.T @ vectors[:, order]).T
    found = found / jnp.linalg.norm(found, axis=1, keepdims=True)
    return values[order], jax.vmap(back)(found)


def _mapped(f: Callable[[Array], Array], size: int, dtype: Any, chunk: int | None) -> Array:
    """`f` of each unit vector, one after another in chunks."""

    def of_unit(i: Array) -> Array:
        return f((jnp.arange(size) == i).astype(dtype))

    return jax.lax.map(of_unit, jnp.arange(size), batch_size=min(chunk or size, size))


def _rows_of(leaf: Array, like: PyTree) -> PyTree:
    """[outputs, ...] cut into the leaves of the output, each [*shape, ...]."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([math.prod(part.shape) for part in leaves])[:-1].tolist()
    cut = jnp.split(leaf, ends)
    return jax.tree.unflatten(
        tree, [a.reshape(*part.shape, *leaf.shape[1:]) for a, part in zip(cut, leaves, strict=True)]
    )


def scalar(value: Any) -> Array:
    if jnp.shape(value) != ():
        raise TypeError(f"a scalar function is wanted; this one gives {_check.describe(value)}. Sum it up.")
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(
            f"a function is differentiated that gives {jnp.result_type(value)}: it has no derivative."
        )
    return value


def check_floating(x: PyTree, what: str = "x") -> None:
    """Raise unless every leaf is floating."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)} is {jnp.result_type(leaf)}, and derivatives are by "
                "floating numbers. Close over whole numbers instead: lambda x: f(x, numbers)."
            )


def _check_alike(x: PyTree, v: PyTree) -> None:
    if jax.tree.structure(x) != jax.tree.structure(v):  # type: ignore[operator]
        raise TypeError(
            f"v has the structure of x; got {jax.tree.structure(v)} for {jax.tree.structure(x)}."
        )
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(v), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            raise TypeError(f"v has the shapes of x; got {jnp.shape(b)} for {jnp.shape(a)}.")

"""Functions with another function's derivative, modified gradients, derivatives at a minimum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from funcnet import _check
from funcnet._types import Array, PyTree


def straight_through(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`f`, with the derivative of the identity: for rounding, signs, thresholds.

    Args:
        f: a function of one array that returns an array of the same shape.

    Returns:
        A function with the values of `f` and the derivative of the identity.

    Raises:
        TypeError: if `f` is not callable.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> rounded = fn.transform.straight_through(jnp.round)
        >>> float(rounded(2.6)), float(jax.grad(rounded)(2.6))
        (3.0, 1.0)

    Source: Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic
    neurons", 2013.
    """
    _check.function("f", f, "a function of an array")

    @jax.custom_jvp
    def through(x: Array) -> Array:
        return f(x).astype(x.dtype)

    @through.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        y = f(*primals).astype(primals[0].dtype)
        return y, jnp.broadcast_to(tangents[0], y.shape)

    return lambda x: through(jnp.asarray(x))


def reverse_gradient(x: PyTree, scale: float | Array = 1.0) -> PyTree:
    """`x`, with its gradient negated: what precedes it is trained to increase the loss that follows.

    Args:
        x: a pytree of floating arrays.
        scale: the gradient is multiplied by -scale.

    Returns:
        `x`, unchanged.

    Example:
        >>> import jax, funcnet as fn
        >>> float(jax.grad(lambda x: 3 * fn.transform.reverse_gradient(x))(1.0))
        -3.0

    Source: Ganin, Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015.
    """
    return jax.tree.map(lambda a: _reverse(a, scale), x)


@jax.custom_jvp
def _reverse(a: Array, scale: float | Array) -> Array:
    del scale
    return a


@_reverse.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (a, scale), (tangent, _) = primals, tangents
    return a, (-jnp.asarray(scale, tangent.dtype) * tangent).astype(tangent.dtype)


def clip_gradient(x: PyTree, norm: float | Array) -> PyTree:
    """`x`, with its gradient clipped to a global norm of at most `norm`. For reverse mode only.

    Args:
        x: a pytree of floating arrays.
        norm: the maximum norm of the gradient, over all leaves; positive.

    Returns:
        `x`, unchanged.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> jax.grad(lambda x: 10 * jnp.sum(fn.transform.clip_gradient(x, 1.0)))(jnp.zeros(4)).tolist()
        [0.5, 0.5, 0.5, 0.5]

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    return _clip(x, jnp.asarray(norm))


@jax.custom_vjp
def _clip(x: PyTree, norm: Array) -> PyTree:
    del norm
    return x


def _clip_cotangent(norm: Array, cotangent: PyTree) -> tuple[PyTree, Array]:
    floats = [g for g in jax.tree.leaves(cotangent) if jnp.issubdtype(g.dtype, jnp.floating)]
    factor = clip_factor(floats, norm)
    clipped = jax.tree.map(
        lambda g: g * factor.astype(g.dtype) if g.dtype != jax.dtypes.float0 else g, cotangent
    )
    return clipped, jnp.zeros_like(norm)


def clip_factor(tree: PyTree, norm: Array | float) -> Array:
    """The factor that clips a tree to a global norm of at most `norm`; its squares cannot overflow."""
    largest = jnp.max(
        jnp.stack([jnp.max(jnp.abs(g), initial=0).astype(float) for g in jax.tree.leaves(tree)])
    )
    unit = jnp.where(largest > 0, largest, 1)
    squares = [jnp.sum((g / unit.astype(g.dtype)).astype(float) ** 2) for g in jax.tree.leaves(tree)]
    return jnp.minimum(1.0, norm / unit / jnp.maximum(jnp.sqrt(sum(squares)), jnp.finfo(float).tiny))


_clip.defvjp(lambda x, norm: (x, norm), _clip_cotangent)


def implicit_minimum(
    solve: Callable[[PyTree, Any], PyTree], objective: Callable[[PyTree, Any], Array], *, ridge: float = 0.0
) -> Callable[[PyTree, Any], PyTree]:
    """A minimizer that is differentiated implicitly, at the minimum, and not through its steps.

    At a minimum x of f(x, h) the gradient is zero for every h, so dx/dh = -H⁻¹ ∂²f/∂x∂h. The linear system
    is solved by conjugate gradients, with Hessian-vector products. No step of the solver is stored: a run
    of any length is differentiated by its hyperparameters at the cost of some gradients. The derivative is
    as accurate as the solver's convergence.

    Args:
        solve: `solve(start, h) -> x`, any program, for example a run of `fit`; it is not differentiated.
        objective: `f(x, h) -> scalar`, minimal at x with a positive definite Hessian H there.
        ridge: added to the diagonal of H, for objectives with flat directions.

    Returns:
        `(start, h) -> x`, differentiable by h in both modes.

    Raises:
        TypeError: if `solve` or `objective` is not callable.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def objective(x, h):
        ...     return (x - h) ** 2 + x**2  # minimal at h / 2
        >>> def solve(x, h):
        ...     return jax.lax.fori_loop(0, 100, lambda i, x: x - 0.1 * jax.grad(objective)(x, h), x)
        >>> minimum = fn.transform.implicit_minimum(solve, objective)
        >>> round(float(jax.grad(minimum, argnums=1)(0.0, 3.0)), 4)
        0.5

    Source: Bengio, "Gradient-based optimization of hyperparameters", 2000; Pedregosa, "Hyperparameter
    optimization with approximate gradient", 2016; Hestenes, Stiefel, "Methods of conjugate gradients for
    solving linear systems", 1952.
    """
    _check.function("solve", solve, "solve(start, h) -> x")
    _check.function("objective", objective, "f(x, h) -> scalar")

    @jax.custom_jvp
    def minimum(start: PyTree, h: Any) -> PyTree:
        return solve(start, h)

    @minimum.defjvp
    def _(primals: tuple[PyTree, Any], tangents: tuple[PyTree, Any]) -> tuple[PyTree, PyTree]:
        (start, h), (_, h_dot) = primals, tangents
        x = minimum(start, h)
        mixed = jax.jvp(lambda h: jax.grad(objective)(x, h), (h,), (h_dot,))[1]
        minus, unravel = ravel_pytree(jax.tree.map(jnp.negative, mixed))

        def hessian_product(v: Array) -> Array:
            product = jax.jvp(lambda x: jax.grad(objective)(x, h), (x,), (unravel(v),))[1]
            return ravel_pytree(product)[0] + ridge * v

        def solve_linear(matvec: Callable[[Array], Array], b: Array) -> Array:
            # Until the residual is of the size of rounding errors of b.
            return cg(matvec, b, tol=10 * float(jnp.finfo(b.dtype).eps))[0]

        # JAX cannot transpose `cg` itself.
        x_dot = jax.lax.custom_linear_solve(hessian_product, minus, solve_linear, symmetric=True)
        return x, unravel(x_dot)

    return minimum

"""Functions with another function's derivative, modified gradients, derivatives at a minimum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

from funcnet import _check, _tree
from funcnet._types import Array, PyTree
from funcnet.layers._dtype import wide
from funcnet.transform._arguments import scalar, to_alike, to_arrays, to_floating
from funcnet.transform._scale import magnitude


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
    _check.takes("f", f, "a function of an array", None)

    @jax.custom_jvp
    def through(x: Array) -> Array:
        y = f(x)
        if not hasattr(y, "dtype") or jnp.shape(y) != jnp.shape(x):
            raise TypeError(
                f"f must return an array of the shape of its argument, {jnp.shape(x)}, got "
                f"{_check.describe(y)}."
            )
        return y.astype(x.dtype)

    @through.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        return through(*primals), tangents[0]

    def with_slope_one(x: Array | float) -> Array:
        # A Python float keeps its weak type.
        return through(jnp.asarray(x) if type(x) is float else _check.jax_array("x", x))

    return with_slope_one


def reverse_gradient(x: PyTree, scale: float | Array = 1.0) -> PyTree:
    """`x`, with its gradient negated: what precedes it is trained to increase the loss that follows.

    Args:
        x: a pytree of floating arrays.
        scale: the gradient is multiplied by -scale.

    Returns:
        `x`, unchanged.

    Raises:
        TypeError: if `x` holds no arrays, or `scale` is not a number.
        ValueError: if `scale` is not finite.

    Example:
        >>> import jax, funcnet as fn
        >>> float(jax.grad(lambda x: 3 * fn.transform.reverse_gradient(x))(1.0))
        -3.0

    Source: Ganin, Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015.
    """
    scale = _check.scalar_setting("scale", scale, -float("inf"), float("inf"))
    return jax.tree.map(lambda a: _reverse(a, scale), _real_arrays(x))


@jax.custom_jvp
def _reverse(a: Array, scale: float | Array) -> Array:
    del scale
    return a


@_reverse.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (a, scale), (tangent, _) = primals, tangents
    if tangent.dtype == jax.dtypes.float0:
        return a, tangent
    scale = jnp.asarray(scale, wide(tangent).dtype)  # 1e-8 would be 0 in float16
    return a, (-scale * wide(tangent)).astype(tangent.dtype)


def clip_gradient(x: PyTree, norm: float | Array) -> PyTree:
    """`x`, with its gradient clipped to a global norm of at most `norm`. For reverse mode only.

    Args:
        x: a pytree of floating arrays.
        norm: the maximum norm of the gradient, over all leaves; positive.

    Returns:
        `x`, unchanged.

    Raises:
        TypeError: if `x` holds no arrays, or `norm` is not a number.
        ValueError: if `norm` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> jax.grad(lambda x: 10 * jnp.sum(fn.transform.clip_gradient(x, 1.0)))(jnp.zeros(4)).tolist()
        [0.5, 0.5, 0.5, 0.5]

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    norm = _check.scalar_setting("norm", norm, 0.0, float("inf"))
    return _clip(_real_arrays(x), norm)


def _real_arrays(x: PyTree) -> PyTree:
    """The pytree `x` with its leaves as arrays; integers have no gradient, and pass."""
    arrays = to_arrays("x", x)
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        if _tree.is_key(leaf):
            raise TypeError(f"x{jax.tree_util.keystr(path)} must be real, got a key.")
        if isinstance(leaf, complex) or jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise TypeError(
                f"x{jax.tree_util.keystr(path)} must be real, got complex numbers. Try x.real and x.imag."
            )
    return arrays


@jax.custom_vjp
def _clip(x: PyTree, norm: Array) -> PyTree:
    del norm
    return x


def _clip_cotangent(norm: Array, cotangent: PyTree) -> tuple[PyTree, Array]:
    leaves, structure = jax.tree.flatten(cotangent)
    floats, _ = clip_tree([g for g in leaves if jnp.issubdtype(g.dtype, jnp.floating)], norm)
    clipped = iter(floats)
    leaves = [next(clipped) if jnp.issubdtype(g.dtype, jnp.floating) else g for g in leaves]
    return jax.tree.unflatten(structure, leaves), jnp.zeros_like(norm)


def clip_tree(tree: PyTree, norm: Array | float) -> tuple[PyTree, Array]:
    """A tree clipped to a global norm of at most `norm`, and its norm; no square overflows or vanishes."""
    leaves = [wide(g) for g in jax.tree.leaves(tree)]
    unit = magnitude(*leaves).astype(float)
    squares = [jnp.sum((g / unit.astype(g.dtype)).astype(float) ** 2) for g in leaves]
    root = jnp.maximum(jnp.sqrt(sum(squares, jnp.zeros(()))), 1)  # 1 unless all are 0
    factor = jnp.minimum(1.0, norm / unit / root)

    def clip(g: Array) -> Array:
        # Where the factor itself would vanish, the largest entry is divided first.
        shrunk = (wide(g) / unit.astype(wide(g).dtype)) * (norm / root).astype(wide(g).dtype)
        clipped = jnp.where(factor > 1e-30, wide(g) * factor.astype(wide(g).dtype), shrunk)
        return clipped.astype(g.dtype)

    return jax.tree.map(clip, tree), jnp.where(sum(squares) == 0, 0, unit * root)


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
        TypeError: if `solve` or `objective` is not callable, or the result is not a tree like `start`.
        ValueError: if `ridge` is negative or not finite.

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
    _check.takes("solve", solve, "a function solve(start, h) -> x", None, None)
    _check.takes("objective", objective, "a function objective(x, h) -> scalar", None, None)
    diagonal = _check.scalar_setting("ridge", ridge, 0.0, float("inf"), low_included=True)
    gradient_of = jax.grad(lambda x, h: scalar(objective(x, h), "objective"))

    @jax.custom_jvp
    def minimum(start: PyTree, h: Any) -> PyTree:
        return to_alike("the result of solve", solve(start, h), "start", start)

    @minimum.defjvp
    def _(primals: tuple[PyTree, Any], tangents: tuple[PyTree, Any]) -> tuple[PyTree, PyTree]:
        (start, h), (_, h_dot) = primals, tangents
        x = minimum(start, h)
        mixed = jax.jvp(lambda h: gradient_of(x, h), (h,), (h_dot,))[1]
        minus, unravel = ravel_pytree(jax.tree.map(jnp.negative, mixed))

        def hessian_product(v: Array) -> Array:
            product = jax.jvp(lambda x: gradient_of(x, h), (x,), (unravel(v.astype(minus.dtype)),))[1]
            return wide(ravel_pytree(product)[0]) + diagonal.astype(v.dtype) * v

        def solve_linear(matvec: Callable[[Array], Array], b: Array) -> Array:
            # Until the residual is of the size of rounding errors of b, whose squares must not overflow.
            unit = magnitude(b)
            return unit * cg(matvec, b / unit, tol=10 * float(jnp.finfo(b.dtype).eps))[0]

        # JAX cannot transpose `cg` itself.
        x_dot = jax.lax.custom_linear_solve(hessian_product, wide(minus), solve_linear, symmetric=True)
        return x, unravel(x_dot.astype(minus.dtype))

    def checked(start: PyTree, h: Any) -> PyTree:
        return minimum(to_floating("start", start), to_arrays("h", h))

    return checked

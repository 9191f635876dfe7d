"""Functions whose derivative is another one's, or none; derivatives at a minimum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from funcnet import _check
from funcnet._types import Array, PyTree


def stop(x: PyTree) -> PyTree:
    """`x`, a constant to whoever differentiates.

    Args:
        x: a pytree of arrays.

    Returns:
        The same numbers.

    Raises:
        Nothing of its own.

    Example:
        >>> import jax, funcnet as fn
        >>> float(jax.grad(lambda x: x * jax.lax.stop_gradient(x))(3.0))
        3.0
    """
    return jax.lax.stop_gradient(x)


def straight_through(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """`f`, with the derivative of the identity: for rounding, signs, thresholds.

    Args:
        f: a function of one array, to the same shape.

    Returns:
        The same function to whoever calls it.

    Raises:
        TypeError: if `f` can't be called.

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
    """`x`, with a gradient of the other sign: what comes before is trained against what comes after.

    Args:
        x: a pytree of floating arrays.
        scale: the gradient is multiplied by -scale.

    Returns:
        The same numbers.

    Raises:
        Nothing of its own.

    Example:
        >>> import jax, funcnet as fn
        >>> float(jax.grad(lambda x: 3 * fn.transform.reverse_gradient(x))(1.0))
        -3.0

    Source: Ganin, Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015.
    """
    return jax.tree.map(lambda a: _reversed(a, scale), x)


@jax.custom_jvp
def _reversed(a: Array, scale: float | Array) -> Array:
    del scale
    return a


@_reversed.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (a, scale), (slope, _) = primals, tangents
    return a, (-jnp.asarray(scale, slope.dtype) * slope).astype(slope.dtype)


def clip_gradient(x: PyTree, norm: float | Array) -> PyTree:
    """`x`, with a gradient of length `norm` at most, all leaves together. In reverse mode only.

    Args:
        x: a pytree of floating arrays.
        norm: the greatest length, above 0.

    Returns:
        The same numbers.

    Raises:
        Nothing of its own.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> jax.grad(lambda x: 10 * jnp.sum(fn.transform.clip_gradient(x, 1.0)))(jnp.zeros(4)).tolist()
        [0.5, 0.5, 0.5, 0.5]

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    return _clipped(x, jnp.asarray(norm))


@jax.custom_vjp
def _clipped(x: PyTree, norm: Array) -> PyTree:
    del norm
    return x


def _clipped_back(norm: Array, slope: PyTree) -> tuple[PyTree, Array]:
    floats = [g for g in jax.tree.leaves(slope) if jnp.issubdtype(g.dtype, jnp.floating)]
    factor = shortened(floats, norm)
    clipped = jax.tree.map(
        lambda g: g * factor.astype(g.dtype) if g.dtype != jax.dtypes.float0 else g, slope
    )
    return clipped, jnp.zeros_like(norm)


def shortened(tree: PyTree, norm: Array | float) -> Array:
    """What a tree is multiplied by to be of length `norm` at most; squares can't overflow."""
    largest = jnp.max(
        jnp.stack([jnp.max(jnp.abs(g), initial=0).astype(float) for g in jax.tree.leaves(tree)])
    )
    unit = jnp.where(largest > 0, largest, 1)
    squares = [jnp.sum((g / unit.astype(g.dtype)).astype(float) ** 2) for g in jax.tree.leaves(tree)]
    return jnp.minimum(1.0, norm / unit / jnp.maximum(jnp.sqrt(sum(squares)), jnp.finfo(float).tiny))


_clipped.defvjp(lambda x, norm: (x, norm), _clipped_back)


def implicit_minimum(
    solve: Callable[[PyTree, Any], PyTree], objective: Callable[[PyTree, Any], Array], *, ridge: float = 0.0
) -> Callable[[PyTree, Any], PyTree]:
    """A minimiser whose result is differentiated as what it is, a minimum, and not through its steps.

    At a minimum x of f(x, h) the gradient is zero for every h, so dx/dh = -H⁻¹ ∂²f/∂x∂h. The linear system
    is solved by conjugate gradients, with Hessian products. Nothing of the search is stored: a training of
    any length is differentiated by its hyper-parameters at the price of some gradients, as far as it did
    converge.

    Args:
        solve: `solve(start, h) -> x`, any program, a `fit` for example; it is not differentiated.
        objective: `f(x, h) -> scalar`, which is least at x, and curved upwards there.
        ridge: added to the diagonal of H, where it is flat.

    Returns:
        `(start, h) -> x`, differentiable by h in both modes.

    Raises:
        TypeError: if a function can't be called.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def objective(x, h):
        ...     return (x - h) ** 2 + x**2  # least at h / 2
        >>> def solve(x, h):
        ...     return jax.lax.fori_loop(0, 100, lambda i, x: x - 0.1 * jax.grad(objective)(x, h), x)
        >>> found = fn.transform.implicit_minimum(solve, objective)
        >>> round(float(jax.grad(found, argnums=1)(0.0, 3.0)), 4)
        0.5

    Source: Bengio, "Gradient-based optimization of hyperparameters", 2000; Pedregosa, "Hyperparameter
    optimization with approximate gradient", 2016.
    """
    _check.function("solve", solve, "solve(start, h) -> x")
    _check.function("objective", objective, "f(x, h) -> scalar")

    @jax.custom_jvp
    def found(start: PyTree, h: Any) -> PyTree:
        return solve(start, h)

    @found.defjvp
    def _(primals: tuple[PyTree, Any], tangents: tuple[PyTree, Any]) -> tuple[PyTree, PyTree]:
        (start, h), (_, along) = primals, tangents
        x = found(start, h)
        pushed = jax.jvp(lambda h: jax.grad(objective)(x, h), (h,), (along,))[1]

        def product(v: PyTree) -> PyTree:
            curved = jax.jvp(lambda x: jax.grad(objective)(x, h), (x,), (v,))[1]
            return jax.tree.map(lambda c, v: c + ridge * v, curved, v)

        minus = jax.tree.map(jnp.negative, pushed)
        return x, jax.lax.custom_linear_solve(product, minus, _conjugate_gradients, symmetric=True)

    return found


def _conjugate_gradients(product: Callable[[PyTree], PyTree], b: PyTree) -> PyTree:
    """A⁻¹ b for a positive map A: until the residual is what rounding leaves of b.

    Source: Hestenes, Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    flat, back = ravel_pytree(b)
    least = 100 * jnp.finfo(flat.dtype).eps ** 2 * jnp.vdot(flat, flat)

    def goes_on(carry: Any) -> Array:
        _, _, _, square, turn = carry
        return (square > least) & (turn < 10 * flat.size)

    def turn(carry: Any) -> Any:
        x, rest, along, square, turns = carry
        pushed = ravel_pytree(product(back(along)))[0]
        share = square / jnp.vdot(along, pushed)
        rest = rest - share * pushed
        new = jnp.vdot(rest, rest)
        return x + share * along, rest, rest + new / square * along, new, turns + 1

    first = (jnp.zeros_like(flat), flat, flat, jnp.vdot(flat, flat), jnp.int32(0))
    return back(jax.lax.while_loop(goes_on, turn, first)[0])

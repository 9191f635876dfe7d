"""Derivatives against differences: is this gradient right, and if not, in which leaf?"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, PyTree
from funcnet.transform._products import check_floating, scalar


@dataclasses.dataclass(frozen=True)
class GradCheck:
    """What a comparison of a gradient with differences found.

    Args:
        differences: by the path of each leaf: how far the two derivatives along a random direction in that
            leaf lie apart, as a share of the larger one or of what rounding allows.
        tolerance: above which a leaf is wrong.

    Example:
        >>> import funcnet as fn
        >>> print(fn.transform.GradCheck({"weight": 1e-9, "bias": 0.5}, 1e-4))
        wrong in bias: the gradient and differences are 0.5 apart, relatively; 0.0001 is allowed
    """

    differences: dict[str, float]
    tolerance: float

    @property
    def wrong(self) -> list[str]:
        """The paths of the leaves whose gradient is wrong."""
        return [path for path, off in self.differences.items() if not off <= self.tolerance]

    @property
    def right(self) -> bool:
        """Whether every leaf's gradient agrees with differences."""
        return not self.wrong

    def __str__(self) -> str:
        if self.right:
            worst = max(self.differences.values(), default=0.0)
            return f"right in all {len(self.differences)} leaves, to {worst:.1g} relatively"
        lines = [
            f"wrong in {path or 'x'}: the gradient and differences are {self.differences[path]:.2g} apart, "
            f"relatively; {self.tolerance:g} is allowed"
            for path in self.wrong
        ]
        return "\n".join(lines)


def check_grads(
    f: Callable[..., Array], *, directions: int = 3, tolerance: float = 1e-4, seed: int = 0
) -> Callable[..., GradCheck]:
    """Compare the gradient of a scalar function with central differences, leaf by leaf, in float64.

    Args:
        f: `f(x, *others) -> scalar`, differentiated by its first argument.
        directions: random directions in each leaf.
        tolerance: how far the two may lie apart, relatively.
        seed: draws the directions.

    Returns:
        `(x, *others) -> GradCheck`; print it.

    Raises:
        TypeError: if `f` can't be called or gives no scalar, or x holds integers.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return jnp.sum(x["a"] ** 2) + jax.lax.stop_gradient(x["b"])  # b has a derivative of 1
        >>> found = fn.transform.check_grads(f)({"a": jnp.ones(3), "b": jnp.array(2.0)})
        >>> found.right, found.wrong
        (False, ["['b']"])
    """
    _check.function("f", f, "a scalar function of arrays")
    _check.positive("directions", directions)

    def compute(x: PyTree, *others: Any) -> GradCheck:
        check_floating(x)
        rng = np.random.default_rng(seed)
        with jax.enable_x64(True):
            x, others = (jax.tree.map(_wide, tree) for tree in (x, others))
            value = jax.jit(lambda x: scalar(f(x, *others)))
            slopes = _tree.paths(jax.jit(jax.grad(value))(x))
            leaves, structure = jax.tree.flatten(x)
            found = {}
            for i, (path, slope) in enumerate(slopes.items()):
                # The step that balances the error of third order against rounding.
                size = float(jnp.abs(leaves[i]).max(initial=0.0)) or 1.0
                step = size * np.finfo(float).eps ** (1 / 3)
                off = 0.0
                for _ in range(directions):
                    along = rng.choice([-1.0, 1.0], leaves[i].shape)

                    def moved(by: float, i: int = i, along: Any = along) -> float:
                        changed = [leaf + by * along if j == i else leaf for j, leaf in enumerate(leaves)]
                        return float(value(jax.tree.unflatten(structure, changed)))

                    difference = (moved(step) - moved(-step)) / (2 * step)
                    derivative = float(jnp.vdot(slope, along))
                    rounding = np.finfo(float).eps * abs(moved(0.0)) / step * 1e3
                    scale = max(abs(difference), abs(derivative), rounding, 1e-12)
                    apart = abs(difference - derivative) / scale
                    off = max(off, np.inf if np.isnan(apart) else apart)
                found[path] = off
        return GradCheck(found, tolerance)

    return compute


def _wide(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | np.ndarray | float) and jnp.issubdtype(
        jnp.result_type(leaf), jnp.floating
    ):
        return jnp.asarray(np.asarray(leaf), jnp.float64)
    return leaf

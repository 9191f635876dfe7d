"""Gradients compared with finite differences, leaf by leaf."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, PyTree
from funcnet.transform._arguments import scalar, to_arrays, to_floating


@dataclasses.dataclass(frozen=True)
class GradCheck:
    """The result of comparing a gradient with finite differences.

    Args:
        differences: for each leaf, by path: the largest difference of the two derivatives along random
            directions in that leaf, relative to the larger derivative or to the rounding error.
        tolerance: the largest relative difference at which a gradient counts as correct.

    Example:
        >>> import funcnet as fn
        >>> print(fn.transform.GradCheck({"weight": 1e-9, "bias": 0.5}, 1e-4))
        wrong in bias: the relative difference is 0.5, the tolerance 0.0001
    """

    differences: dict[str, float]
    tolerance: float

    def __post_init__(self) -> None:
        if not isinstance(self.differences, Mapping):
            raise TypeError(
                "differences must be a mapping from paths to numbers, got "
                f"{_check.describe(self.differences)}."
            )
        _check.above_zero("tolerance", self.tolerance)

    @property
    def wrong(self) -> list[str]:
        """The paths of the leaves whose gradient is wrong."""
        return [path for path, error in self.differences.items() if not error <= self.tolerance]

    @property
    def right(self) -> bool:
        """Whether the gradient agrees with finite differences in every leaf."""
        return not self.wrong

    def __str__(self) -> str:
        if self.right:
            worst = max(self.differences.values(), default=0.0)
            count = len(self.differences)
            where = "" if count == 1 else f" in all {count} leaves"
            return f"right{where}: relative difference at most {worst:.1g}"
        lines = [
            f"wrong in {path or 'x'}: the relative difference is {self.differences[path]:.2g}, "
            f"the tolerance {self.tolerance:g}"
            for path in self.wrong
        ]
        return "\n".join(lines)


def check_grads(
    f: Callable[..., Array], *, directions: int = 3, tolerance: float = 1e-4, seed: int = 0
) -> Callable[..., GradCheck]:
    """Compare the gradient of a scalar function with central differences, leaf by leaf, in float64.

    Args:
        f: `f(x, *others) -> scalar`, differentiated by its first argument.
        directions: the number of random directions in each leaf.
        tolerance: the largest relative difference at which a gradient counts as correct.
        seed: the seed of the directions.

    Returns:
        `(x, *others) -> GradCheck`, which can be printed.

    Raises:
        TypeError: if `f` is not callable or does not return a scalar, or x has non-floating leaves.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> def f(x):
        ...     return jnp.sum(x["a"] ** 2) + jax.lax.stop_gradient(x["b"])  # b has a derivative of 1
        >>> check = fn.transform.check_grads(f)({"a": jnp.ones(3), "b": jnp.array(2.0)})
        >>> check.right, check.wrong
        (False, ["['b']"])
    """
    _check.function("f", f, "a scalar function of arrays")
    directions = _check.repeats("directions", directions)
    tolerance = _check.above_zero("tolerance", tolerance)
    seed = _check.not_negative("seed", seed)

    def compute(x: PyTree, *others: Any) -> GradCheck:
        _check.takes("f", f, "a function f(x, *others) -> scalar", x, *others)
        if not _tree.is_concrete((x, others)):
            raise TypeError(
                "check_grads runs on the host, so x must not be traced. Call it outside of jit."
            )
        x, others = to_floating("x", x), to_arrays("others", others, others=True)
        rng = np.random.default_rng(seed)
        with jax.enable_x64(True):
            x, others = (jax.tree.map(_wide, tree) for tree in (x, others))
            value = jax.jit(lambda x: scalar(f(x, *others)))
            gradients = _tree.paths(jax.jit(jax.grad(value))(x))
            leaves, structure = jax.tree.flatten(x)
            differences = {}
            for i, (path, gradient) in enumerate(gradients.items()):
                # The step that balances the truncation error, of third order, and rounding.
                size = float(jnp.abs(leaves[i]).max(initial=0.0)) or 1.0
                step = size * np.finfo(float).eps ** (1 / 3)
                worst = 0.0
                for _ in range(directions):
                    direction = rng.choice([-1.0, 1.0], leaves[i].shape)

                    def value_at(t: float, i: int = i, direction: Any = direction) -> float:
                        shifted = [*leaves[:i], leaves[i] + t * direction, *leaves[i + 1 :]]
                        return float(value(jax.tree.unflatten(structure, shifted)))

                    difference = (value_at(step) - value_at(-step)) / (2 * step)
                    derivative = float(jnp.vdot(gradient, direction))
                    rounding = np.finfo(float).eps * abs(value_at(0.0)) / step * 1e3
                    scale = max(abs(difference), abs(derivative), rounding, np.finfo(float).tiny)
                    error = abs(difference - derivative) / scale
                    worst = max(worst, np.inf if np.isnan(error) else error)
                differences[path] = worst
        return GradCheck(differences, tolerance)

    return compute


def _wide(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | np.ndarray | float) and jnp.issubdtype(
        jnp.result_type(leaf), jnp.floating
    ):
        return jnp.asarray(np.asarray(leaf), jnp.float64)
    return leaf

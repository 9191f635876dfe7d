"""Types used everywhere: arrays, keys, trees, and the protocols of losses and metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from jax import Array as Array
from jax.typing import ArrayLike as ArrayLike
from jaxtyping import Bool, Float, Int, PRNGKeyArray, Shaped, UInt32

Key: TypeAlias = PRNGKeyArray
"""One typed key, as returned by `jax.random.key(0)`."""

if TYPE_CHECKING:
    PyTree: TypeAlias = Any
else:

    class _Everything(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return True

    class PyTree(metaclass=_Everything):
        """Any nesting of tuples, lists, dicts and registered classes around arrays.

        As the annotation of a field of a module it marks a child, whose arrays are part of the model. It is
        not jaxtyping's PyTree, whose import takes as long as that of funcnet; fields may use that, too.

        Example:
            >>> import jax, jax.numpy as jnp, funcnet as fn
            >>> class Tables(fn.Module):
            ...     tables: fn.PyTree
            >>> fn.count(Tables({"a": jnp.ones(2), "b": jnp.ones(3)}))
            5
        """


Scalar: TypeAlias = Float[Array, ""]
Metrics: TypeAlias = Mapping[str, Array]


class Loss(Protocol):
    """The loss of **one** example: a scalar, or a scalar and a dictionary of scalar metrics.

    `key` is a key in training and None in evaluation.
    """

    def __call__(self, model: Any, example: Any, key: Key | None, /) -> Any: ...


class PerExample(Protocol):
    """A loss or metric of one example: `(prediction, target) -> scalar`."""

    def __call__(self, prediction: Any, target: Any, /) -> Any: ...


__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Float",
    "Int",
    "Key",
    "Loss",
    "Metrics",
    "PerExample",
    "PyTree",
    "Scalar",
    "Shaped",
    "UInt32",
]

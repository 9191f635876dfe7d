"""The words every other file uses: arrays, keys, trees, and what a loss and a metric look like."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from jax import Array as Array
from jax.typing import ArrayLike as ArrayLike
from jaxtyping import Bool, Float, Int, PRNGKeyArray, Shaped, UInt32

Key: TypeAlias = PRNGKeyArray
"""One typed key, as `jax.random.key(0)` makes it."""

PyTree: TypeAlias = Any
"""Any nesting of tuples, lists, dicts and registered classes around arrays.

Not jaxtyping's PyTree, whose import costs as much as all of funcnet; a module's fields may use that.
"""

Scalar: TypeAlias = Float[Array, ""]
Metrics: TypeAlias = Mapping[str, Array]


class Loss(Protocol):
    """The loss of **one** example: a scalar, or a scalar and a dictionary of scalar metrics.

    `key` is None when the model is evaluated and a key when it is trained.
    """

    def __call__(self, model: Any, example: Any, key: Key | None, /) -> Any: ...


class PerExample(Protocol):
    """A number for one example: `(prediction, target) -> scalar`, as losses and metrics are."""

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

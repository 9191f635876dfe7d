"""Precision: in which floating dtypes parameters are kept, models computed and predictions given."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from funcnet import _check, _tree
from funcnet._module import Module, call, trainable
from funcnet._types import Array, Key, Loss, PyTree

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Precision:
    """In which floating dtypes a model keeps its parameters, computes, and gives its predictions.

    Called on a loss it gives the same loss of the model computed in `compute`. Parameters,
    gradients, optimizer and all sums over examples stay in `param` and at least float32, so that
    small updates are not rounded away. Nothing else is cast: parameters of another dtype are refused.

    On GPUs and TPUs float32 products are rounded to fewer bits by default; `with
    jax.default_matmul_precision("highest"):` around the training computes them in full.

    Args:
        param: dtype of parameters between steps.
        compute: dtype in which the model sees parameters and floating inputs.
        output: dtype of predictions; losses are computed in at least float32.

    Raises:
        TypeError: if a dtype is not floating; when called, if the loss is no function; in training,
            if parameters have another dtype than `param`.
        ValueError: if a dtype is float64 and JAX's 64 bit mode is off.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> half = fn.Precision(compute="bfloat16")
        >>> loss = half(fn.losses.supervised(fn.losses.squared_error))
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=2)
        >>> model = fn.MLP((1, 8, "scalar")).init(jax.random.key(0))
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> run = train(model, (x, x[:, 0]), jax.random.key(1))
        >>> run.model.layers[0].weight.dtype.name, half.model(run.model)(x).dtype.name
        ('float32', 'float32')

    Source: Micikevicius et al., "Mixed precision training", ICLR 2018.
    """

    param: DTypeLike = "float32"
    compute: DTypeLike = "float32"
    output: DTypeLike = "float32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            dtype = _check.floating_dtype(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, dtype.name)

    def __call__(self, loss: Loss) -> Loss:
        """`loss` of the model computed in this precision.

        Args:
            loss: `loss(model, example, key)` that calls its model. A model that can't be called, such
                as a dict, reaches it with parameters in `compute`.

        Returns:
            A loss of the same kind.
        """
        _check.loss(loss)

        @functools.wraps(loss)
        def lowered(model: Any, *args: Any) -> Any:
            return loss(self.model(model) if callable(model) else self._lowered(model), *args)

        return lowered

    def parameters(self, model: T) -> T:
        """`model` with its parameters in dtype `param`; buffers stay as they are."""
        chosen, rest = _tree.partition(model, trainable(model))
        return _tree.combine(_cast(chosen, self.param), rest)

    def model(self, model: PyTree) -> "Cast":
        """The model as it is computed in this precision, to predict with: `predict(p.model(m), x)`."""
        return Cast(self._checked(model), self)

    def _checked(self, model: PyTree) -> PyTree:
        chosen, _ = _tree.partition(model, trainable(model))
        for path, leaf in _tree.paths(chosen).items():
            if leaf.dtype.name != self.param:
                raise TypeError(
                    f"Precision(param={self.param!r}) and {path} is {leaf.dtype.name}: nothing is cast in "
                    "silence. Begin with model = precision.parameters(model)."
                )
        return model

    def _lowered(self, model: PyTree) -> PyTree:
        return _cast(self._checked(model), self.compute)


class Cast(Module):
    """A model computed in another precision, as `Precision.model` makes it.

    Args:
        inside: the model, with its own parameters.
        precision: in what it computes.

    Returns:
        When called on x: what the model returns, floats in dtype `precision.output`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.Linear(2, 3).init(jax.random.key(0))
        >>> fn.Precision(compute="bfloat16").model(model)(jnp.ones(2)).dtype.name
        'float32'
    """

    inside: Module | PyTree
    precision: Precision

    def __call__(self, x: PyTree, key: Key | None = None) -> Any:
        model, x = _cast((self.inside, x), self.precision.compute)
        return _cast(call(model, x, key), self.precision.output)


def _cast(tree: T, dtype: Any) -> T:
    def cast(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

    return jax.tree.map(cast, tree)

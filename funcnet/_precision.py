"""Mixed precision: the floating dtypes of parameters, computation and predictions."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from funcnet import _check, _tree
from funcnet._module import Module, as_module, call, check_model, is_parameter, restore
from funcnet._types import Array, Key, Loss, PyTree

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Precision:
    """A mixed precision policy: the floating dtypes of parameters, computation and predictions.

    Called on a loss, it returns the same loss with the model computed in `compute`. Parameters, gradients
    and optimizer state stay in `param`, and sums over examples in at least float32, so that small updates
    are not rounded away. Parameters of another dtype than `param` raise an error; they are never cast
    silently.

    On GPUs and TPUs float32 matrix products use fewer bits by default; train within `with
    jax.default_matmul_precision("highest"):` for full precision.

    Args:
        param: dtype of parameters between steps.
        compute: dtype that parameters and floating inputs are cast to for the model.
        output: dtype of the predictions; losses are computed in at least float32.

    Raises:
        TypeError: if a dtype is not floating; when called, if the loss is not a function; in training,
            if parameters have another dtype than `param`.
        ValueError: if a dtype is float64 and JAX's 64-bit mode is disabled; or if it has a smaller range
            than bfloat16, as float16 has, in which small gradients are 0.

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
            if jnp.finfo(dtype).minexp > jnp.finfo(jnp.bfloat16).minexp:
                raise ValueError(
                    f"{field.name} must have at least the range of bfloat16, got {dtype.name}, in which "
                    f"gradients below {jnp.finfo(dtype).smallest_subnormal:.0e} are 0: a mean over a batch "
                    f"divides them by its rows. Try fn.Precision({field.name}='bfloat16')."
                )
            object.__setattr__(self, field.name, dtype.name)

    def __call__(self, loss: Loss) -> Loss:
        """`loss` with its model computed in this precision.

        Args:
            loss: a function `loss(model, example, key)`. It receives a model that computes in this
                precision; the parameters of a model that is not callable, such as a dict, are cast.

        Returns:
            A loss with the same arguments.
        """
        _check.loss(loss)
        if hasattr(loss, "by_player"):
            raise ValueError(
                "a Precision expects one loss, got those of several players. Write "
                "fn.losses.players(disc=precision(disc_loss), gen=precision(gen_loss))."
            )

        @functools.wraps(loss)
        def loss_in_precision(model: Any, *args: Any) -> Any:
            if callable(model):
                return loss(self.model(model), *args)
            cast = _cast_parameters(self._check_dtypes(as_module(model)), self.compute)
            return loss(restore(cast, inference=not args or args[-1] is None), *args)

        return loss_in_precision

    def cast_parameters(self, model: T) -> T:
        """`model` with its parameters cast to `param`; buffers are not cast."""
        _check_arrays(model)
        return _cast_parameters(model, self.param)

    def model(self, model: PyTree) -> "Cast":
        """The model computed in this precision, for prediction: `predict(precision.model(model), x)`."""
        return Cast(self._check_dtypes(as_module(model)), self)

    def _check_dtypes(self, model: PyTree) -> PyTree:
        """`model`, if all its parameters have dtype `param`."""
        _check_arrays(model)
        parameters, _ = _tree.partition(model, is_parameter(model))
        for path, leaf in _tree.paths(parameters).items():
            if leaf.dtype.name != self.param:
                raise TypeError(
                    f"{path} must be {self.param} for Precision(param={self.param!r}), got "
                    f"{leaf.dtype.name}. Cast the parameters first: "
                    "model = precision.cast_parameters(model)."
                )
        return model


class Cast(Module):
    """A model computed in another precision, as returned by `Precision.model`.

    Args:
        model: the model, with its own parameters.
        precision: the precision that it is computed in.

    Returns:
        When called on x: the output of the model, with floats cast to `precision.output`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.Linear(2, 3).init(jax.random.key(0))
        >>> fn.Precision(compute="bfloat16").model(model)(jnp.ones(2)).dtype.name
        'float32'
    """

    model: Module | PyTree
    precision: Precision

    def __call__(self, x: PyTree, key: Key | None = None) -> Any:
        model = _cast_parameters(self.model, self.precision.compute)
        x = _cast(_check.pytree("x", x), self.precision.compute)
        output = _check.pytree("the output of the model", call(model, x, key))
        return _cast(output, self.precision.output)


def _check_arrays(model: PyTree) -> None:
    check_model(model)
    for path, leaf in _tree.paths(model).items():
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise TypeError(f"{path or 'the model'} must be an array to be cast, got {leaf}.")


def _cast_parameters(model: T, dtype: Any) -> T:
    # Buffers are not cast: running statistics in half precision are off by half a percent.
    parameters, buffers = _tree.partition(model, is_parameter(model))
    return _tree.combine(_cast(parameters, dtype), buffers)


def _cast(tree: T, dtype: Any) -> T:
    def cast(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)

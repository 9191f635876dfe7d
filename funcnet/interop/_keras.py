"""Networks of Keras 3, on its JAX backend."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer
from funcnet._types import Key, PyTree
from funcnet.interop._mode import no_flag
from funcnet.interop._network import LiftedNetwork, defaults_of_jax


def from_keras(make: Any) -> LiftedNetwork:
    """A network of Keras 3, on its JAX backend.

    `model.params` are its trainable variables, by layer and name, and `model.state` the others, such as
    moving averages. Its seed generators get the key of each call: generator i draws from
    `jax.random.bits(jax.random.fold_in(key, i), (2,), "uint32")`.

    Args:
        make: a function without arguments that returns a built `keras.Model`, whose call takes a batch
            [rows, ...]; then `init(key)` draws all variables anew, from its initializers. A model that
            is built already is a fixed start, with its current values: a model, which is trained without
            `init`.

    Returns:
        A module; `init` draws its parameters, and it is called on one example. With a state, a loop of your
        own must not pad its batches: `fn.data.batches(..., pad=False)`.

    Raises:
        TypeError: if `make` is neither, or does not return a model of Keras.
        ValueError: if the backend of Keras is not JAX, or the model is not built; if `make` returns a model
            whose variables were made before or set; if it has dropout or running statistics, and its `call`
            no argument `training`; in training, if it has losses of its own, such as those of a
            `kernel_regularizer`, which a loss of funcnet does not contain.

    Example:
        >>> import os; os.environ["KERAS_BACKEND"] = "jax"
        >>> import keras, jax, jax.numpy as jnp, funcnet as fn
        >>> layers = [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
        >>> net = fn.interop.from_keras(lambda: keras.Sequential(layers))
        >>> model = net.init(jax.random.key(0))
        >>> model(jnp.ones(4)).shape, fn.count(model)
        ((3,), 67)
    """
    import keras

    if keras.backend.backend() != "jax":
        raise ValueError(
            f"Keras must use its JAX backend, got {keras.backend.backend()!r}. Before keras is imported: "
            'os.environ["KERAS_BACKEND"] = "jax".'
        )
    is_built = isinstance(make, keras.Model)
    if is_built:
        model = make
    else:
        if isinstance(make, type):
            raise TypeError(
                "make must be a model of Keras, or a function without arguments that returns one, got "
                f"{_check.describe(make)}. Write fn.interop.from_keras(lambda: {make.__name__}())."
            )
        _check.takes("make", make, "a model of Keras, or a function without arguments that returns one")
        # In this scope variables keep their initializers.
        with defaults_of_jax(), keras.StatelessScope(initialize_variables=False) as scope:
            model = make()
        if not isinstance(model, keras.Model):
            raise TypeError(f"make must return a keras.Model, got {_check.describe(model)}.")
        _check_is_drawn(model, scope)
    if not model.built or not model.weights:
        raise ValueError(
            f"the model of Keras must be built, got {model.name!r} without variables. Give it its input "
            "shape: keras.Sequential([keras.Input((4,)), ...]); for a class of your own: "
            "def make(): model = Net(); model(keras.Input((4,))); return model."
        )
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    initializers = tuple(getattr(variable, "_initializer", None) for variable in variables)
    with defaults_of_jax(), keras.StatelessScope():
        pass  # its end initializes all variables, which a trace must not do
    if not _has_training(model) and (any(map(_is_seed, variables)) or _has_statistics(model)):
        raise no_flag(type(model).__name__, "dropout or a state", call="def call(self, x, training=False)")
    library = _Keras(model, variables, initializers, is_built)
    if not is_built:
        return LiftedNetwork(library)
    params, state = library.by_name([jnp.array(variable.value) for variable in variables])
    return LiftedNetwork(library, params=params, state=jax.tree.map(Buffer, state))


@dataclasses.dataclass(frozen=True, eq=False)
class _Keras:
    """Networks that were lifted by different calls are different: models of Keras have no equality."""

    model: Any
    variables: tuple[Any, ...]
    initializers: tuple[Any, ...]
    is_built: bool
    takes_batch = True

    @property
    def draws(self) -> bool:
        return any(map(_is_seed, self.variables))

    @property
    def name(self) -> str:
        return f"{type(self.model).__name__} of Keras"

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        def draw(i: int) -> Any:
            variable, initializer = self.variables[i], copy.copy(self.initializers[i])
            if hasattr(initializer, "seed"):
                initializer.seed = _seed(jax.random.fold_in(key, i))
            return jnp.asarray(initializer(variable.shape, dtype=variable.dtype))

        return self.by_name([draw(i) for i in range(len(self.variables))])

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        output, new, losses = self._call(params, state, x, key)
        if key is None:
            return output, state
        if losses:
            raise ValueError(
                f"{self.model.name!r} has losses of its own, such as those of a kernel_regularizer, which "
                "a loss of funcnet does not contain. Remove them, and penalize the parameters: "
                "fn.losses.penalized(loss, l2=1e-4)."
            )
        return output, new

    def by_name(self, values: Sequence[Any]) -> tuple[PyTree, PyTree]:
        """The parameters and the state, of values of all variables."""
        params: dict[str, dict[str, Any]] = {}
        state: dict[str, dict[str, Any]] = {}
        for variable, (layer, name), value in zip(self.variables, self._names, values, strict=True):
            if not _is_seed(variable):
                (params if variable.trainable else state).setdefault(layer, {})[name] = value
        return params, state

    def _call(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[Any, Any, Any]:
        """The output, the new state, and the losses of the layers."""
        values, seeds = [], 0
        for variable, (layer, name) in zip(self.variables, self._names, strict=True):
            if _is_seed(variable):
                values.append(_seed(jax.random.fold_in(jax.random.key(0) if key is None else key, seeds)))
                seeds += 1
            else:
                values.append((params if variable.trainable else state)[layer][name])
        count = sum(variable.trainable for variable in self.variables)
        training = {"training": key is not None} if _has_training(self.model) else {}
        output, new, losses = self.model.stateless_call(
            values[:count], values[count:], x, return_losses=True, **training
        )
        return output, self.by_name([*values[:count], *new])[1], losses

    @functools.cached_property
    def _names(self) -> list[tuple[str, str]]:
        """A layer and a name for each variable, whatever the number of layers that Keras made before."""
        numbers: dict[str, int] = {}
        names: list[tuple[str, str]] = []
        for variable in self.variables:
            path = variable.path.rpartition("/")[0]
            name = f"layer_{numbers.setdefault(path, len(numbers))}", variable.name
            while name in names:
                name = name[0], f"{name[1]}_"
            names.append(name)
        return names


def _check_is_drawn(model: Any, scope: Any) -> None:
    """Check that `init` can draw all variables: they are made in `make`, and not set in it."""
    is_set = any(scope.get_current_value(variable) is not None for variable in model.weights)
    if is_set or not all(callable(getattr(v, "_initializer", None)) for v in model.weights):
        raise ValueError(
            "make must build its model anew, with initial values from its initializers, got "
            f"{model.name!r} with variables that were made before or set, by weights that were "
            "loaded or by adapt. For a fixed start, pass the model itself: from_keras(model). Of "
            "Normalization, pass its settings: Normalization(mean=mean, variance=variance)."
        )


def _has_training(model: Any) -> bool:
    """Whether the call of a model has an argument `training`."""
    return "training" in inspect.signature(model.call).parameters


def _has_statistics(layer: Any) -> bool:
    """Whether a layer, or one inside, has running statistics."""
    import keras

    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_norm or any(map(_has_statistics, getattr(layer, "layers", ())))


def _is_seed(variable: Any) -> bool:
    """Whether a variable is the state of a seed generator."""
    return bool(variable.name == "seed_generator_state")


def _seed(key: Key) -> Any:
    """What the random functions of Keras take as a seed."""
    return jax.random.bits(key, (2,), jnp.uint32)

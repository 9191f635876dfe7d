"""The training state: the whole state of a run as one pytree."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _tree
from funcnet._module import as_module, check_model, check_trainable, trainable
from funcnet._types import Array, Int, Key, PyTree
from funcnet.train._early_stopping import EarlyStoppingState, initial_state
from funcnet.train._optimizer import (
    aggregates_examples,
    check_opt_state,
    init_optimizer,
    update_optimizer,
)
from funcnet.train._players import as_transformation


@_tree.node
class History(Mapping[str, Array]):
    """Losses and metrics by epoch: a mapping from name to an array [epochs].

    `history.to_pandas()` is a frame of pandas; `pandas.DataFrame(history)` would hold the names alone.

    Names are those of Keras: `loss` and the metrics, averaged over an epoch while the weights change;
    `val_loss` and so on for the validation rows; and, if there are validation rows, `train_loss`, the loss
    on the training rows in inference mode with the weights at the end of the epoch. Entries of epochs that
    were not reached or not evaluated are NaN. Losses are in the units of the loss.

    Args:
        arrays: the arrays of the values that each epoch records, by name, each [epochs]; with leading axes
            after a vmap.
        evaluations: those of the values that only evaluations record.
        num_epochs: how many epochs have recorded their values, int32 []; all if None.
        is_evaluated: which epochs were evaluated, bool [epochs]; all if None.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> history = fn.History({"loss": jnp.array([0.7, 0.5])})
        >>> list(history), history["loss"].shape
        (['loss'], (2,))
    """

    arrays: dict[str, Array]
    evaluations: dict[str, Array] = dataclasses.field(default_factory=dict)
    num_epochs: Array | None = None
    is_evaluated: Array | None = None
    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("History")

    def __post_init__(self) -> None:
        for name, arrays in (("arrays", self.arrays), ("evaluations", self.evaluations)):
            if not isinstance(arrays, Mapping) or not all(isinstance(key, str) for key in arrays):
                raise TypeError(
                    f"{name} must be a dictionary of arrays by name, got {_check.describe(arrays)}. Try "
                    'fn.History({"loss": jnp.array([0.7, 0.5])}).'
                )

    def __getitem__(self, name: str) -> Array:
        if name not in self:
            raise KeyError(f"the history has no {name!r}; it has {', '.join(self)}")
        values: Any = self.evaluations[name] if name in self.evaluations else self.arrays[name]
        is_array = isinstance(values, jax.Array | np.ndarray)
        if not is_array:  # the struct of one
            return values
        if name in self.evaluations:
            return _fill_missing(values, self.is_evaluated)
        if self.num_epochs is None:
            return values
        xp = np if is_on_host(values) else jnp
        return _fill_missing(values, xp.arange(values.shape[-1]) < xp.asarray(self.num_epochs)[..., None])

    def __contains__(self, name: object) -> bool:
        return name in self.arrays or name in self.evaluations

    def __iter__(self) -> Iterator[str]:
        return iter(sorted([*self.arrays, *self.evaluations], key=sort_key))

    def __len__(self) -> int:
        return len(self.arrays) + len(self.evaluations)

    def __repr__(self) -> str:
        """The last values by name; of many runs, or inside jit, the shapes."""
        parts, last = [], 0
        for name in self:
            values = self[name]
            text = _tree.dtype_and_shape(values) if hasattr(values, "shape") else repr(values)
            if isinstance(values, jax.Array | np.ndarray) and is_on_host(values) and np.ndim(values) == 1:
                known = np.flatnonzero(~np.isnan(values))
                last = max([last, *(known + 1)])
                text = f"{values[known[-1]]:.4g}" if len(known) else "none"
            parts.append(f"{name} {text}")
        return f"History({f'epoch {last}: ' if last else ''}{', '.join(parts)})"

    def _repr_html_(self) -> str:
        """First, last, lowest and highest values by name, for notebooks; of many runs, as `repr`."""
        from funcnet import _html

        arrays = dict(self)
        if not all(map(is_on_host, arrays.values())):
            return _html.plain(self)
        values = {name: np.asarray(array, float) for name, array in arrays.items()}
        if any(array.ndim != 1 for array in values.values()):
            return _html.plain(self)
        columns = ("", "first", "last", "lowest", "highest")
        rows = [(name, *_extremes(array)) for name, array in values.items()]
        epochs = max((np.isfinite(array).sum() for array in values.values()), default=0)
        return _html.fragment(_html.Table(f"{epochs:,} epochs", columns, rows))

    def to_pandas(self) -> Any:
        """The history as a frame of pandas: a column for each name, a row for each epoch, from 1.

        Returns:
            A frame whose index is "epoch"; of many runs "run" (counted from 0) and "epoch".

        Raises:
            TypeError: inside jit or vmap.

        Example:
            >>> import jax.numpy as jnp, funcnet as fn
            >>> fn.History({"loss": jnp.array([0.75, 0.5])}).to_pandas()["loss"].to_dict()
            {1: 0.75, 2: 0.5}
        """
        import pandas

        columns = dict(self)
        if not _tree.is_concrete(columns):
            raise TypeError("a history can't be read inside jit and vmap. Call to_pandas() outside.")
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        shape = next((values.shape for values in arrays.values()), (0,))
        epochs = pandas.RangeIndex(1, shape[-1] + 1, name="epoch")
        if len(shape) > 1:
            runs = pandas.RangeIndex(int(np.prod(shape[:-1])), name="run")
            index: Any = pandas.MultiIndex.from_product([runs, epochs])
        else:
            index = epochs
        return pandas.DataFrame({name: values.ravel() for name, values in arrays.items()}, index=index)

    @staticmethod
    def empty(values: Mapping[str, Any], evaluations: Mapping[str, Any], epochs: int) -> "History":
        """A history before the first epoch; names map to structs with a dtype."""
        # Not filled with NaN: jax_debug_nans refuses any in the results of compiled functions.
        arrays, evaluated = (
            {name: jnp.zeros(epochs, _floating(like.dtype)) for name, like in names.items()}
            for names in (values, evaluations)
        )
        is_evaluated = jnp.zeros(epochs, bool) if evaluated else None
        return History(arrays, evaluated, jnp.int32(0), is_evaluated)

    def record(self, epoch: Array, values: Mapping[str, Array], condition: Array) -> "History":
        """The history with the values of one epoch set, if the condition holds.

        `num_epochs` stays: a run sets it once, after its last step (`count_epochs`).
        """
        return _tree.replace(self, arrays=self.arrays | _set_at(epoch, self.arrays, values, condition))

    def record_evaluation(self, epoch: Array, values: Mapping[str, Array], condition: Array) -> "History":
        """The history with the values of an evaluation after one epoch set, if the condition holds."""
        evaluations = self.evaluations | _set_at(epoch, self.evaluations, values, condition)
        is_evaluated = _set_at(epoch, {"": self.is_evaluated}, {"": jnp.array(True)}, condition)[""]
        return _tree.replace(self, evaluations=evaluations, is_evaluated=is_evaluated)

    def at(self, epoch: Array) -> dict[str, Array]:
        """The values of an epoch by name, which must have been recorded."""
        return {name: array[epoch] for name, array in (self.arrays | self.evaluations).items()}


def _set_at(
    epoch: Array, arrays: Mapping[str, Any], values: Mapping[str, Array], condition: Array
) -> dict[str, Array]:
    """The arrays named in `values`, with their entries of one epoch set if the condition holds."""
    # If it does not hold, the index lies beyond the end and the value is dropped. Reading the old value
    # to write it back costs half a small step on XLA's CPU runtime.
    row = {}
    for name, value in values.items():
        old = arrays[name]
        index = jnp.where(condition, epoch, old.shape[-1])
        row[name] = old.at[index].set(value.astype(old.dtype), mode="drop")
    return row


def _fill_missing(values: Array, is_recorded: Any) -> Array:
    """The values, with NaN where none was recorded."""
    if is_recorded is None:
        return values
    values = values.astype(_floating(values.dtype))
    if not is_on_host(values):
        return jnp.where(is_recorded, values, jnp.nan)
    # In NumPy, which jax_debug_nans does not look at.
    filled = np.where(np.asarray(is_recorded), np.asarray(values), np.asarray(np.nan, values.dtype))
    is_placed = getattr(values, "committed", False)  # else JAX chooses the device, where it is used
    return jax.device_put(filled, values.sharding if is_placed else None)


def _floating(dtype: Any) -> Any:
    """The dtype if it has a NaN, else the default one: a `Metric` may be an integer."""
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jax.dtypes.canonicalize_dtype(float)


def is_on_host(values: Any) -> bool:
    """Whether NumPy can read an array; a tracer or a struct of a shape it can't."""
    return (
        hasattr(values, "__array__")
        and _tree.is_concrete(values)
        and getattr(values, "is_fully_addressable", True)
    )


def _extremes(values: np.ndarray) -> tuple[str, ...]:
    """The first, last, lowest and highest recorded value, the last two with their epochs, from 1."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return ("none",) * 4
    low, high = known[values[known].argmin()], known[values[known].argmax()]
    return (
        f"{values[known[0]]:.4g}",
        f"{values[known[-1]]:.4g}",
        f"{values[low]:.4g} (epoch {low + 1:,})",
        f"{values[high]:.4g} (epoch {high + 1:,})",
    )


def sort_key(name: str) -> tuple[bool, bool, bool, str]:
    """Training before validation, a loss before its metrics, `train_loss` last."""
    return name == "train_loss", name.startswith("val_"), not name.endswith("loss"), name


@_tree.node
class TrainState:
    """The whole state of a run as one pytree: copy it, save it, vmap over it, continue from it.

    Args:
        model: the current model, any pytree of arrays.
        opt_state: the optimizer's state.
        step: the number of optimizer steps, int32 [], including updates that `on_nan` skips.
        epoch: the number of completed epochs, int32 [].
        key: the key of the run; every random number in it comes from this key, `step` and `epoch`.
        stopping: the state of early stopping, and the outcome (`funcnet.train.EarlyStoppingState`).
        history: losses and metrics by epoch; None in a loop written by hand.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> model = fn.Linear(2, 1).init(jax.random.key(0))
        >>> state = fn.TrainState.create(model, optax.adam(1e-2), jax.random.key(1))
        >>> int(state.step), int(state.epoch)
        (0, 0)
    """

    model: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    epoch: Int[Array, ""]
    key: Key
    stopping: EarlyStoppingState
    history: Any = None
    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("TrainState")

    def __post_init__(self) -> None:
        _check.key(self.key)
        for name in ("step", "epoch"):
            value = _check.jax_array(name, getattr(self, name))
            if not jnp.issubdtype(value.dtype, jnp.integer) or value.shape:
                raise TypeError(
                    f"{name} must be an integer, int32 [], got {_check.describe(value)}. Try "
                    f"{name}=jnp.int32(0)."
                )
            object.__setattr__(self, name, value.astype(jnp.int32))

    @staticmethod
    @_check.usage("state = fn.TrainState.create(model, optax.adam(1e-3), key)")
    def create(
        model: PyTree,
        optimizer: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
        key: Key,
    ) -> "TrainState":
        """The state before the first step.

        Args:
            model: any pytree of floating arrays, such as a module after `init`.
            optimizer: an optax GradientTransformation; it gets the parameters, not the buffers. For
                `fn.losses.players`, a dictionary with an optimizer for each player.
            key: a typed key; pass the same key to `fn.data.batches`.

        Returns:
            A TrainState at step 0 of epoch 0.

        Raises:
            TypeError: if the model lacks parameters or holds integers as parameters, `optimizer` is not an
                optax transformation, or `key` is not a PRNG key.
            ValueError: if every parameter is frozen.
        """
        _check.key(key)
        transformation = as_transformation(optimizer)
        model = as_module(model)
        check_model(model)
        check_trainable(model)
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(model)):
            raise TypeError(
                "model must hold arrays, got a ShapeDtypeStruct. For shapes alone: "
                "jax.eval_shape(fn.TrainState.create, model, optimizer, key)."
            )
        model = _tree.strongly_typed(jax.tree.map(jnp.asarray, model))
        parameters, _ = _tree.partition(model, trainable(model))
        zero = jnp.zeros((), jnp.int32)
        opt_state = init_optimizer(transformation, parameters)
        return TrainState(model, opt_state, zero, zero, key, initial_state())

    @_check.usage("state.apply_gradients(gradients, optimizer)")
    def apply_gradients(
        self, gradients: PyTree, optimizer: optax.GradientTransformation, **extra: Any
    ) -> "TrainState":
        """The state after one optimizer step with these gradients, for a custom step.

        Args:
            gradients: a tree like `model`, such as `jax.grad` returns; those of buffers are ignored.
            optimizer: that of `create`.
            **extra: what the update of the optimizer asks for beyond gradients, state and parameters.

        Returns:
            A TrainState with the new parameters and optimizer state, and `step` + 1.

        Raises:
            TypeError: if `optimizer` is not an optax transformation.
            ValueError: if the gradients are not a tree like the model, or the optimizer is another one.

        Example:
            >>> import jax, jax.numpy as jnp, optax, funcnet as fn
            >>> optimizer = optax.sgd(0.1)
            >>> state = fn.TrainState.create(jnp.array(1.0), optimizer, jax.random.key(0))
            >>> state = state.apply_gradients(jax.grad(lambda w: w**2)(state.model), optimizer)
            >>> round(float(state.model), 4), int(state.step)
            (0.8, 1)
        """
        mask, transformation = trainable(self.model), as_transformation(optimizer)
        _check_gradients(gradients, self.model, aggregates_examples(self.opt_state))
        (own, _), (parameters, rest) = _tree.partition(gradients, mask), _tree.partition(self.model, mask)
        check_opt_state(transformation, self.opt_state, parameters)
        updates, opt_state = update_optimizer(transformation, own, self.opt_state, parameters, extra)
        model = _tree.combine(optax.apply_updates(parameters, updates), rest)
        return _tree.replace(self, model=model, opt_state=opt_state, step=self.step + 1)


def _check_gradients(gradients: PyTree, model: PyTree, of_examples: bool) -> None:
    """Check that gradients are like a model; those `of_examples` have a leading axis."""
    structure: Any = jax.tree.structure(gradients)
    if structure != jax.tree.structure(model):
        raise ValueError(
            f"gradients must be a tree like the model, got {_check.describe(gradients)}. Try "
            "jax.grad(lambda model: ...)(state.model)."
        )
    leaves, of_model = (_tree.paths(_tree.partition(t, trainable(model))[0]) for t in (gradients, model))
    for path, leaf in leaves.items() if not of_examples else ():
        if jnp.shape(leaf) != of_model[path].shape or jnp.result_type(leaf) != of_model[path].dtype:
            raise ValueError(
                "gradients must have the shapes and dtypes of the parameters, got "
                f"{_tree.dtype_and_shape(jnp.asarray(leaf))} for {path or 'the model'}, which is "
                f"{_tree.dtype_and_shape(of_model[path])}."
            )

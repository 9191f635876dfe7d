"""The training state: the whole state of a run as one pytree."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import check_model, trainable
from funcnet._types import Array, Int, Key, PyTree
from funcnet.train._early_stopping import EarlyStoppingState, initial_state
from funcnet.train._optimizer import init_optimizer


@_tree.node
class History(Mapping[str, Array]):
    """Losses and metrics by epoch: a mapping from name to an array [epochs].

    Names are those of Keras: `loss` and the metrics, averaged over an epoch while the weights change;
    `val_loss` and so on for the validation rows; and, if there are validation rows, `train_loss`, the loss
    on the training rows in inference mode with the weights at the end of the epoch. Entries of epochs that
    were not reached or not evaluated are NaN. Losses are in the units of the loss.

    Args:
        arrays: the arrays by name, each [epochs]; with leading axes after a vmap.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> history = fn.History({"loss": jnp.array([0.7, 0.5])})
        >>> list(history), history["loss"].shape
        (['loss'], (2,))
    """

    arrays: dict[str, Array]

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays:
            raise KeyError(f"the history has no {name!r}; it has {', '.join(self.arrays)}")
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.arrays, key=_sort_key))

    def __len__(self) -> int:
        return len(self.arrays)

    @staticmethod
    def empty(names: Mapping[str, Any], epochs: int) -> "History":
        """A history before the first epoch; `names` maps to structs with a dtype."""
        return History({n: jnp.full(epochs, jnp.nan, like.dtype) for n, like in names.items()})

    def record(self, epoch: Array, values: Mapping[str, Array], condition: Array) -> "History":
        """The history with some values of one epoch set, if the condition holds."""
        # If it does not hold, the index lies beyond the end and the value is dropped. Reading the old value
        # to write it back costs half a small step on XLA's CPU runtime.
        row = {}
        for name, value in values.items():
            old = self.arrays[name]
            index = jnp.where(condition, epoch, old.shape[-1])
            row[name] = old.at[index].set(value.astype(old.dtype), mode="drop")
        return History({**self.arrays, **row})


def _sort_key(name: str) -> tuple[bool, bool, bool, str]:
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

    @staticmethod
    def create(model: PyTree, optimizer: optax.GradientTransformation, key: Key) -> "TrainState":
        """The state before the first step.

        Args:
            model: any pytree of floating arrays, such as a module after `init`.
            optimizer: an optax GradientTransformation; it gets the parameters, not the buffers.
            key: a typed key; pass the same key to `fn.data.batches`.

        Returns:
            A TrainState at step 0 of epoch 0.

        Raises:
            TypeError: if the model lacks parameters or holds integers as parameters, `optimizer` is not an
                optax transformation, or `key` is not a PRNG key.
        """
        _check.key(key)
        _check.optimizer(optimizer)
        check_model(model)
        model = jax.tree.map(jnp.asarray, model)
        parameters, _ = _tree.partition(model, trainable(model))
        zero = jnp.zeros((), jnp.int32)
        return TrainState(model, init_optimizer(optimizer, parameters), zero, zero, key, initial_state())

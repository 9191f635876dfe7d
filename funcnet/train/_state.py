"""The training state: everything a run is, in one pytree."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import check_model, trainable
from funcnet._types import Array, Int, Key, PyTree
from funcnet.train._stop import EarlyStoppingState, not_stopped


@_tree.node
class History(Mapping[str, Array]):
    """What was measured at each epoch: a mapping from name to an array [epochs].

    Names are Keras's: `loss` and the metrics as they ran while the weights moved, `val_loss` and so
    on for the validation rows; and, where these are given, `train_loss`: the loss of the epoch's
    final weights in inference mode on the training rows. Epochs not reached and not evaluated hold
    NaN. Losses are in the loss's units (nats, squared target units).

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
            raise KeyError(f"no {name!r} in this history; it holds {', '.join(self.arrays)}")
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.arrays, key=_place))

    def __len__(self) -> int:
        return len(self.arrays)

    @staticmethod
    def empty(names: Mapping[str, Any], epochs: int) -> "History":
        """A history in which no epoch has been reached; `names` maps to things with a dtype."""
        return History({n: jnp.full(epochs, jnp.nan, like.dtype) for n, like in names.items()})

    def at(self, epoch: Array, values: Mapping[str, Array], condition: Array) -> "History":
        """The history with some values of one epoch filled in, if the condition holds."""
        # Where it does not hold the place lies beyond the end, and the value is dropped. Reading the
        # old value to write it again costs half a small step on XLA's CPU runtime.
        row = {}
        for name, value in values.items():
            old = self.arrays[name]
            place = jnp.where(condition, epoch, old.shape[-1])
            row[name] = old.at[place].set(value.astype(old.dtype), mode="drop")
        return History({**self.arrays, **row})


def _place(name: str) -> tuple[bool, bool, bool, str]:
    """Training before validation, a loss before its metrics, `train_loss` last."""
    return name == "train_loss", name.startswith("val_"), not name.endswith("loss"), name


@_tree.node
class TrainState:
    """Everything a training is, as one pytree: copy it, save it, vmap over it, go on from it.

    Args:
        model: the model as it is now, any pytree of arrays.
        opt_state: the optimizer's state.
        step: batches seen, int32 []: one update each, but for those left out by `on_nan`.
        epoch: epochs finished, int32 [].
        key: the key of the run; every random number in it comes from this key, `step` and `epoch`.
        stop: why and when to stop, and the best model so far (`funcnet.train.EarlyStoppingState`).
        history: what was measured; None in a loop written by hand.

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
    stop: EarlyStoppingState
    history: Any = None

    @staticmethod
    def create(model: PyTree, optimizer: optax.GradientTransformation, key: Key) -> "TrainState":
        """The state before the first step.

        Args:
            model: any pytree of floating arrays, such as a module after `init`.
            optimizer: an optax GradientTransformation; it gets the parameters, no buffers.
            key: a typed key, the one to give to `fn.data.batches` as well.

        Returns:
            A TrainState at step 0 of epoch 0.

        Raises:
            TypeError: if the model lacks parameters or holds integers as parameters, or the
                optimizer or the key is none.
        """
        _check.key(key)
        _check.optimizer(optimizer)
        check_model(model)
        model = jax.tree.map(jnp.asarray, model)
        parameters, _ = _tree.partition(model, trainable(model))
        zero = jnp.zeros((), jnp.int32)
        return TrainState(model, optimizer.init(parameters), zero, zero, key, not_stopped())

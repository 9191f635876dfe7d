"""The step at which a training broke, once more, slowly: which rows, which leaf, which operation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._module import trainable
from funcnet._types import PyTree
from funcnet.data._batches import epoch_rows, gather, num_batches
from funcnet.data._dataset import Dataset, as_dataset
from funcnet.train._fit import Fit
from funcnet.train._state import TrainState
from funcnet.transform._find_nan import NotFinite, find_nan
from funcnet.transform._objective import objective


@dataclasses.dataclass(frozen=True)
class ReplayedStep:
    """One step, looked at.

    Args:
        step: its number, from 0.
        epoch: of which epoch, from 0.
        rows: the rows of the data in its batch, in their order, without padding.
        loss: the batch's mean loss.
        leaf: the first leaf that is not finite, "loss" or the path of a gradient, such as
            "gradient of layers[0].weight"; empty if all is finite.
        cause: the first operation that made a NaN or an infinity from finite numbers, if there is one.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> print(fn.train.ReplayedStep(step=3, epoch=0, rows=np.array([7]), loss=0.5, leaf="", cause=None))
        step 3 (epoch 0): the loss is 0.5, and all gradients are finite.
    """

    step: int
    epoch: int
    rows: np.ndarray
    loss: float
    leaf: str
    cause: NotFinite | None

    def __str__(self) -> str:
        where = f"step {self.step} (epoch {self.epoch})"
        if not self.leaf:
            return f"{where}: the loss is {self.loss:.6g}, and all gradients are finite."
        rows = ", ".join(map(str, self.rows[:20])) + (", …" if len(self.rows) > 20 else "")
        cause = f"\nIt began with {self.cause}" if self.cause is not None else ""
        return (
            f"{where}: {self.leaf} is not finite; the loss is {self.loss:.6g}.\n"
            f"Rows of its batch: {rows}.{cause}"
        )


def replay(train: Fit, state: TrainState, data: PyTree) -> ReplayedStep:
    """Compute the loss and the gradient of the next step of a state, operation by operation.

    Of a run whose outcome is `NOT_FINITE` that is the step at which it broke: its state holds the weights
    before it.

    Args:
        train: what `fn.fit` made.
        state: `run.state`.
        data: what was trained on.

    Returns:
        A `ReplayedStep`; print it.

    Raises:
        TypeError: if `train` or `state` is something else.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def loss(model, example, key):
        ...     return model * jnp.sqrt(example)  # no number for the third row
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=1, batch_size=1, shuffle=False)
        >>> rows = jnp.array([1.0, 4.0, -9.0])
        >>> run = train(jnp.array(1.0), rows, jax.random.key(0))
        >>> found = fn.train.replay(train, run.state, rows)
        >>> found.step, found.rows.tolist(), found.leaf, found.cause.operation
        (2, [2], 'loss', 'sqrt')
    """
    if not isinstance(train, Fit) or not isinstance(state, TrainState):
        raise TypeError(
            f"replay(train, run.state, data) takes what fn.fit made and a TrainState; got "
            f"{_check.describe(train)} and {_check.describe(state)}."
        )
    return looked_at(train, state, as_dataset(data), None)


def looked_at(train: Fit, state: TrainState, data: Dataset, per_epoch: int | None) -> ReplayedStep:
    """`replay` of a training that takes so many batches of each epoch."""
    size = train.rows_of_update(len(data))
    per_epoch = num_batches(len(data), size) if per_epoch is None else per_epoch
    number, epoch = int(state.step), int(state.step) // per_epoch
    order = train.order(_tree.replace(state, epoch=jnp.int32(epoch)), len(data))
    row, mask, _ = (a[0] for a in epoch_rows(len(data), order, size, number % per_epoch, 1))
    batch = gather(data, row, mask)
    key = jax.random.fold_in(_keys.named(state.key, "step"), state.step)
    parameters, rest = _tree.partition(state.model, trainable(state.model))
    mass = batch.total_weight

    def value(parameters: PyTree) -> Any:
        return objective(parameters, rest, train.loss, batch, key, mass)[0]

    loss, gradient = jax.value_and_grad(value)(parameters)
    leaves = {"loss": loss} | {f"gradient of {path}": leaf for path, leaf in _tree.paths(gradient).items()}
    wrong = next((name for name, leaf in leaves.items() if not bool(jnp.isfinite(leaf).all())), "")
    cause = find_nan(jax.value_and_grad(value))(parameters) if wrong else None
    places = row if data.rows is None else data.rows[row]
    return ReplayedStep(number, epoch, np.asarray(places)[np.asarray(mask)], float(loss), wrong, cause)

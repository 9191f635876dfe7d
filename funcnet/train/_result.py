"""What a training returns: a value."""

from typing import Any

import jax
import numpy as np

from funcnet import _tree
from funcnet._module import trainable
from funcnet._types import Array, PyTree
from funcnet.train._average import Averaged
from funcnet.train._state import History, TrainState
from funcnet.train._stop import Outcome


@_tree.node
class Run:
    """A finished training.

    Args:
        model: the model to use: of the best epoch where early stopping restores it, else the last,
            averaged where `ema` asks for it.
        state: the state after the last step; `state.model` is the last model as it is.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=4)
        >>> net = fn.models.LinearRegression(1)
        >>> run = train(net.init(jax.random.key(0)), (x, 2 * x[:, 0]), jax.random.key(1))
        >>> run.outcome, run.history["loss"].shape, int(run.state.step)
        (<Outcome.FINISHED: 'Finished: every epoch was trained.'>, (3,), 6)
    """

    model: PyTree
    state: TrainState

    @property
    def history(self) -> History:
        """What was measured at each epoch, by name: arrays [epochs]."""
        return self.state.history

    @property
    def outcome(self) -> Any:
        """How the training ended: an `Outcome`; after a vmap, a numpy array of them.

        Raises:
            TypeError: inside jit or vmap, where only `state.stop.outcome`, its code, is known.
        """
        code = self.state.stop.outcome
        if isinstance(code, jax.core.Tracer):
            raise TypeError(
                "run.outcome is known once the program has run. Inside jit and vmap compare the code: "
                "run.state.stop.outcome == fn.Outcome.FINISHED.code."
            )
        outcomes = np.array(list(Outcome), dtype=object)[np.asarray(code)]
        return outcomes if isinstance(outcomes, Outcome) else np.asarray(outcomes, dtype=object)

    @property
    def best_epoch(self) -> Array:
        """The epoch of the best monitored value, from 0, int32; -1 without early stopping."""
        return self.state.stop.best_epoch

    def plot(self, axes: Any = None) -> Any:
        """Loss and metric by epoch, training and validation; of many runs the median and a band.

        Args:
            axes: matplotlib axes, one for the loss and one for each metric; made when left out.

        Returns:
            The axes, as an array.

        Raises:
            ValueError: for another number of axes.
        """
        from funcnet.report import history

        return history(self, axes)


def current_model(state: TrainState) -> PyTree:
    """The model as it is evaluated: with the averaged weights where there are any."""
    if not isinstance(state.opt_state, Averaged):
        return state.model
    _, rest = _tree.partition(state.model, trainable(state.model))
    return _tree.combine(state.opt_state.average, rest)

"""The result of a run."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._module import trainable
from funcnet._types import Array, PyTree
from funcnet.train._best import Best
from funcnet.train._early_stopping import Outcome
from funcnet.train._optimizer import evaluated_parameters
from funcnet.train._state import History, TrainState, is_on_host


def nan_if_not_finite(state: TrainState, values: PyTree) -> PyTree:
    """Values of a run, NaN if it ended at a loss or gradient that is not finite.

    Its model has the weights before that step, which may seem good, but it did not train to the end. With
    early stopping that restores the best epoch, it has those of that epoch, and its values hold.
    """
    stopping = state.stopping
    has_failed = jnp.asarray(stopping.outcome) == Outcome.NOT_FINITE.code
    if stopping.model is not None:
        has_failed &= jnp.asarray(stopping.best_epoch) < 0

    def replace(value: Array) -> Array:
        return jnp.where(has_failed, jnp.nan, value) if jnp.issubdtype(value.dtype, jnp.inexact) else value

    return jax.tree.map(replace, values)


@_tree.node
class Run:
    """The result of a run.

    Args:
        model: the model to use: that of the best epoch if early stopping restores it, else the last one;
            with averaged weights if `ema` was given; with those that `optax.lookahead`,
            `optax.contrib.schedule_free` and `optax.contrib.sam` say to evaluate.
        state: the state after the last step; `state.model` is the last model, without averaging.
        best_state: what `fn.Trainer(..., keep_best=...)` kept: the best epoch, its model and its value;
            with epoch -1 and no model if the value was NaN in every epoch. None without `keep_best`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=4)
        >>> net = fn.models.LinearRegression(1)
        >>> run = train(net.init(jax.random.key(0)), (x, 2 * x[:, 0]), jax.random.key(1))
        >>> run.outcome, run.history["loss"].shape, int(run.state.step)
        (<Outcome.FINISHED: 'Finished: all epochs completed.'>, (3,), 6)
    """

    model: PyTree
    state: TrainState
    best_state: Best | None = None
    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("Run")

    def __post_init__(self) -> None:
        if not isinstance(self.state, TrainState):
            raise TypeError(
                f"state must be a TrainState, got {_check.describe(self.state)}. A function returned by "
                "fn.fit returns a Run: run = train(model, data, key)."
            )

    def __repr__(self) -> str:
        """How it ended, its last losses and metrics, and its model, in a few lines."""
        code = self.state.stopping.outcome
        is_known = is_on_host(code) and not np.ndim(code)
        outcome = f"{self.outcome.value!r}" if is_known else f"outcome={code!r}"
        return f"Run({outcome},\n  history={self.history!r},\n  model={_size(self.model)})"

    def _repr_html_(self) -> str:
        """How it ended, its curves and its last values, for notebooks."""
        from funcnet import _html

        history = self.history
        if history is None or not all(map(is_on_host, [self.state.stopping.outcome, *history.values()])):
            return _html.plain(self)
        from funcnet.report._epochs import notebook_png

        ends = ", ".join(dict.fromkeys(outcome.value for outcome in np.ravel(self.outcome)))
        picture = _html.Picture(
            notebook_png(self), "", "Losses and metrics by epoch; the numbers are below."
        )
        text = _html.Text(f"Run of {_size(self.model)}. {ends}")
        return _html.fragment(text, picture) + history._repr_html_()

    @property
    def history(self) -> History:
        """Losses and metrics by epoch: arrays [epochs] by name."""
        return self.state.history

    def to_pandas(self) -> Any:
        """The history as a frame of pandas: `self.history.to_pandas()`."""
        return self.history.to_pandas()

    @property
    def outcome(self) -> Any:
        """How the run ended: an `Outcome`; after a vmap, a numpy array of them.

        Raises:
            TypeError: inside jit or vmap, where only the code in `state.stopping.outcome` exists.
        """
        code = self.state.stopping.outcome
        if isinstance(code, jax.core.Tracer):
            raise TypeError(
                "run.outcome can't be read inside jit and vmap. Compare the code: "
                "run.state.stopping.outcome == fn.Outcome.FINISHED.code."
            )
        outcomes = np.array(list(Outcome), dtype=object)[np.asarray(code)]
        return outcomes if isinstance(outcomes, Outcome) else np.asarray(outcomes, dtype=object)

    @property
    def best(self) -> PyTree:
        """The model of the best epoch: by `keep_best` of the Trainer, else as early stopping restores it.

        Raises:
            ValueError: if the run had neither, or no epoch had a value that can be the best.
        """
        if self.best_state is not None and self.best_state.model is not None:
            return self.best_state.model
        stopping = self.state.stopping
        if self.best_state is None and stopping.model is None:
            raise ValueError(
                "this run kept no best model. Name the value that decides: fn.Trainer(train, "
                'keep_best="val_loss"), with a "-" before a value of which the highest is the best, as in '
                '"-val_accuracy".'
            )
        has_none = _tree.is_concrete(stopping.best_epoch) and np.all(np.asarray(stopping.best_epoch) < 0)
        if stopping.model is None or has_none:
            raise ValueError(
                "this run has no best model: the value that decides was NaN or infinite in every epoch. "
                "Look at run.history; the last model is run.model."
            )
        return self.model

    @property
    def best_epoch(self) -> Array:
        """The epoch of `best`, from 0, int32; -1 if there is none: without `keep_best` of the Trainer and
        without early stopping, or if the value that decides was NaN in every epoch.
        """
        if self.best_state is not None and self.best_state.model is not None:
            return self.best_state.epoch
        return self.state.stopping.best_epoch

    def plot(self, axes: Any = None) -> Any:
        """Draw losses and metrics by epoch, training and validation; for many runs their median and a 5-95
        % band.

        Args:
            axes: matplotlib axes, one for the loss and one for each metric; created if None.

        Returns:
            The axes, as an array.

        Raises:
            ValueError: if the number of axes is wrong.
        """
        from funcnet.report import history

        return history(self, axes)


def evaluated_model(state: TrainState) -> PyTree:
    """The model to evaluate: with the weights that `ema` or the optimizer averages, if there are any."""
    parameters, rest = _tree.partition(state.model, trainable(state.model))
    evaluated = evaluated_parameters(state.opt_state, parameters)
    return state.model if evaluated is parameters else _tree.combine(evaluated, rest)


def _size(model: PyTree) -> str:
    """The class of a model and how many numbers it has."""
    sizes = [leaf.size for leaf in jax.tree.leaves(model) if hasattr(leaf, "size")]
    return f"{type(model).__name__} of {sum(sizes):,} numbers"

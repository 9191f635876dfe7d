"""The whole training as one pure function."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import epoch_rows, gather, steps
from funcnet.data._shuffle import epoch_order
from funcnet.train._average import averaging
from funcnet.train._evaluate import checked_data, total
from funcnet.train._forward_only import forward_only
from funcnet.train._result import Run, current_model
from funcnet.train._state import History, TrainState
from funcnet.train._step import OnNaN, Step, step
from funcnet.train._stop import EarlyStopping, Outcome, not_stopped
from funcnet.transform._objective import Totals, objective

EVALUATION_ROWS = 1024


def fit(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    batch_size: int = 32,
    shuffle: bool = True,
    stopping: EarlyStopping | None = None,
    eval_every: int = 1,
    accumulate: int = 1,
    ema: float | Array | None = None,
    on_nan: OnNaN = "stop",
    remat: bool = False,
) -> "Fit":
    """Turn a loss into its training: a pure function `train(model, data, key, valid=None) -> Run`.

    `train` compiles itself into one program; called inside jit, vmap or grad it becomes part of
    that. Hyper-parameters within the optimizer may be traced arrays, so a sweep compiles once.

    Args:
        loss: of one example, `loss(model, example, key) -> scalar` or `(scalar, {name: scalar})`.
        optimizer: any optax GradientTransformation.
        epochs: passes over the data, at least 1.
        batch_size: rows in a batch, at least 1; the last, short batch is padded and masked.
        shuffle: whether each epoch has an order of its own, or the rows keep theirs.
        stopping: when to stop early; without it the training can be differentiated in reverse.
        eval_every: epochs between evaluations; the last epoch is always evaluated.
        accumulate: batches that make up one optimizer update: that of one large batch.
        ema: decay of a moving average of the weights, in [0, 1); with it the average is evaluated
            and returned.
        on_nan: what happens when loss or gradient is not finite: "stop" with the weights before,
            "skip" that update, or "ignore".
        remat: recompute each epoch in a backward pass instead of storing it.

    Returns:
        The training function.

    Raises:
        TypeError: if the loss is no function, the optimizer no optax transformation, or a setting of
            the wrong type.
        ValueError: if a setting is out of range.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> data = (x, jnp.sin(3 * x[:, 0]))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=200, batch_size=16)
        >>> net = fn.MLP((1, 32, "scalar"))
        >>> run = train(net.init(jax.random.key(0)), data, jax.random.key(1))
        >>> bool(run.history["loss"][-1] < 0.01)
        True
        >>> keys = jax.random.split(jax.random.key(2), 5)
        >>> runs = jax.vmap(train, in_axes=(0, None, 0))(jax.vmap(net.init)(keys), data, keys)
        >>> runs.history["loss"].shape
        (5, 200)
    """
    _check.positive("epochs", epochs)
    _check.positive("batch_size", batch_size)
    _check.positive("eval_every", eval_every)
    _check.boolean("shuffle", shuffle)
    _check.boolean("remat", remat)
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise TypeError(f"stopping is a funcnet.EarlyStopping or None; got {_check.describe(stopping)}.")
    if ema is not None and _tree.is_concrete(ema):
        _check.between("ema", ema.item() if hasattr(ema, "item") else ema, 0.0, 1.0)
    _check.optimizer(optimizer)
    optimizer = optimizer if ema is None else averaging(optimizer, ema)
    return Fit(
        loss=loss,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        stopping=stopping,
        eval_every=eval_every,
        accumulate=accumulate,
        on_nan=on_nan,
        remat=remat,
        step=step(loss, optimizer, accumulate=accumulate, on_nan=on_nan),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The training that `fit` made. Call it; its settings are its fields."""

    loss: Loss
    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int
    shuffle: bool
    stopping: EarlyStopping | None
    eval_every: int
    accumulate: int
    on_nan: OnNaN
    remat: bool
    step: Step

    def __call__(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> Run:
        """Train.

        Args:
            model: where to start: any pytree of floating arrays, such as a module after `init`.
            data: a Dataset, or a tuple of arrays [n, ...], by habit (x, y).
            key: a typed key; everything random comes from it.
            valid: rows for `val_loss`, the metrics and `train_loss` at each evaluation.

        Returns:
            A Run.

        Raises:
            TypeError: if the model lacks parameters or holds integers, or the key is none.
            ValueError: if the data is unfit: empty, unequal lengths, NaN, labels out of range; or
                the monitored value is not measured.
        """
        _check.data_and_model(model, data)
        _check.key(key)
        data = checked_data(self.loss, model, data)
        valid = None if valid is None else checked_data(self.loss, model, valid)
        return self._compiled(model, data, key, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self._run)

    def _run(self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None) -> Run:
        """Begin, advance until nothing is left, and pick the model."""
        state = self._begin(model, data, key, valid)
        advance: Any = functools.partial(self._epoch if self.eval_every == 1 else self._round, data, valid)
        if self.remat:
            advance = jax.checkpoint(advance)
        if self.stopping is None:
            rounds = steps(self.epochs, self.eval_every)
            state, _ = jax.lax.scan(advance, state, length=rounds)
        else:
            state = jax.lax.while_loop(self._goes_on, lambda s: advance(s)[0], state)
            state = forward_only(state)
        state = _tree.replace(state, stop=state.stop.ended(jnp.array(True), Outcome.FINISHED))
        model = current_model(state)
        if self.stopping is not None and self.stopping.restore_best:
            model = _tree.select(state.stop.best_epoch >= 0, state.stop.model, model)
        return Run(model, state)

    def _begin(self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None) -> TrainState:
        """The state before the first epoch: nothing measured, nothing stopped."""
        state = TrainState.create(model, self.optimizer, key)
        measured = dict(self._measures(state.model, data, key))
        if valid is not None:
            held_out = self._measures(state.model, valid, None)
            measured |= {f"val_{name}": like for name, like in held_out.items()}
            measured["train_loss"] = held_out["loss"]
        if self.stopping is None:
            stop = not_stopped()
        else:
            _check.monitor(self.stopping.monitor, measured, valid is not None)
            stop = self.stopping.begin(state.model)
        return _tree.replace(state, stop=stop, history=History.empty(measured, self.epochs))

    def _measures(self, model: PyTree, data: Dataset, key: Key | None) -> dict[str, Any]:
        """Name and dtype of each measured value, without computing one."""
        parts = _tree.partition(model, trainable(model))

        def sums(parts: PyTree, data: Dataset) -> dict[str, Array]:
            row, mask = epoch_rows(len(data), None, 1, 0, 1)
            batch = gather(data, row[0], mask[0])
            return objective(parts[0], parts[1], self.loss, batch, key)[1].sums

        return jax.eval_shape(sums, parts, data)

    def _goes_on(self, state: TrainState) -> Array:
        return state.stop.running() & (state.epoch < self.epochs)

    def _round(
        self, data: Dataset, valid: Dataset | None, state: TrainState, _: None = None
    ) -> tuple[TrainState, None]:
        """`eval_every` epochs, fewer at the end, and a check."""

        def epoch(state: TrainState, _: None) -> tuple[TrainState, None]:
            if self.epochs % self.eval_every == 0:
                return self._epoch(data, valid, state)
            train = functools.partial(self._epoch, data, valid)
            return jax.lax.cond(state.epoch < self.epochs, train, lambda s: (s, None), state)

        state, _ = jax.lax.scan(epoch, state, length=self.eval_every)
        return self._checked(data, valid, state), None

    def _epoch(
        self, data: Dataset, valid: Dataset | None, state: TrainState, _: None = None
    ) -> tuple[TrainState, None]:
        """One pass over the data: a scan over `step`; and a check, if every epoch has one."""
        order = epoch_order(state.key, state.epoch, len(data)) if self.shuffle else None
        # Rows of one update, cut into `accumulate` parts of the same size; padding fills them up.
        size = self.accumulate * steps(min(self.batch_size * self.accumulate, len(data)), self.accumulate)

        def one_step(carry: Any, rows: Any) -> Any:
            state, seen = carry
            state, info = self.step(state, gather(data, *rows))
            found = info.totals.packed()
            if self.on_nan == "skip":  # what is left out of the training is left out of its means
                found = jnp.where(info.finite, found, jnp.zeros_like(found))
            return (state, seen + found), None

        measured = _training(state.history)
        nothing = Totals(measured, jnp.zeros(())).packed()
        (state, seen), _ = jax.lax.scan(one_step, (state, nothing), epoch_rows(len(data), order, size))
        # A step that was not finite ends the run within its epoch: that epoch stays unfinished.
        finished = state.stop.running()
        means = Totals.unpacked(measured, seen).means()
        state = _tree.replace(
            state,
            epoch=state.epoch + finished.astype(jnp.int32),
            history=state.history.at(state.epoch, means, finished),
        )
        return (self._checked(data, valid, state) if self.eval_every == 1 else state), None

    def _checked(self, data: Dataset, valid: Dataset | None, state: TrainState) -> TrainState:
        """The state after an evaluation of the epoch just finished."""
        epoch, running, model = state.epoch - 1, state.stop.running(), current_model(state)
        history = state.history
        if valid is not None:
            rows = max(EVALUATION_ROWS, self.batch_size)
            held_out = total(self.loss, model, valid, min(rows, len(valid))).means()
            values = {f"val_{name}": value for name, value in held_out.items()}
            values["train_loss"] = total(self.loss, model, data, min(rows, len(data))).means()["loss"]
            history = history.at(epoch, values, running)
        if self.stopping is None:
            return _tree.replace(state, history=history)
        values = {name: array[epoch] for name, array in history.items()}
        stop = self.stopping.update(state.stop, epoch, model, values)
        stop = _tree.select(running, stop, state.stop)
        return _tree.replace(state, history=history, stop=stop)


def _training(history: History) -> dict[str, Array]:
    """A zero for each value that is measured while training, in the order of `Totals.sums`."""
    names = sorted(n for n in history if not n.startswith("val_") and n != "train_loss")
    return {name: jnp.zeros((), history[name].dtype) for name in names}

"""The whole training as one pure function."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _tree
from funcnet._module import trainable
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch, Dataset
from funcnet.data._batches import Rows, batch_of, epoch_rows, gather, num_batches
from funcnet.data._shuffle import Shuffle, epoch_order
from funcnet.train._average import averaging
from funcnet.train._evaluate import checked_data, total
from funcnet.train._forward_only import forward_only
from funcnet.train._result import Run, current_model
from funcnet.train._state import History, TrainState
from funcnet.train._step import OnNaN, Step, step
from funcnet.train._stop import EarlyStopping, Outcome
from funcnet.train._swift import swift_run
from funcnet.transform._objective import Totals, objective

EVALUATION_ROWS = 1024

Watch: TypeAlias = Callable[[TrainState, Dataset | None], Mapping[str, Array]]


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
    on_nan: OnNaN | Literal["raise"] = "stop",
    remat: bool = False,
) -> "Fit":
    """Turn a loss into its training: a pure function `train(model, data, key, valid=None) -> Run`.

    `train` compiles itself into one program, and returns when that is done; called inside jit, vmap or
    grad it becomes part of that. Hyper-parameters within the optimizer may be traced arrays, so a sweep
    compiles once.

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
            "skip" that update, "ignore", or "raise" a FloatingPointError that names step, rows, leaf and
            operation (inside jit and vmap nothing can be raised: there it is "stop").
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
    _check.choice("on_nan", on_nan, ("stop", "skip", "ignore", "raise"))
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
        step=step(loss, optimizer, accumulate=accumulate, on_nan="stop" if on_nan == "raise" else on_nan),
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
    on_nan: OnNaN | Literal["raise"]
    remat: bool
    step: Step
    looks_back: bool = False
    """Whether it is the end of an epoch that looks if all was finite, and no step; see `_swift`."""
    watch: Watch | None = None
    """What is measured besides at each evaluation, for the history: of a state and the training rows."""

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
            FloatingPointError: with on_nan="raise", if loss or gradient is not finite; `error.run` is the
                run up to there.
        """
        data, valid = self.checked(model, data, key, valid)
        if _tree.is_traced():  # where nothing can be looked at afterwards
            run = self._compiled(model, data, key, valid)
        else:
            run, sound = self._swiftly(model, data, key, valid)
            if not np.asarray(sound):  # once more, up to the step at which it broke
                run = self.pieces.rerun(model, data, key, valid, int(run.state.epoch))
        if self.on_nan == "raise" and _tree.is_concrete(run.state.step):
            self.raise_if_broken(run, data)
        return run

    def raise_if_broken(self, run: Run, data: Any, per_epoch: int | None = None) -> None:
        """Raise a FloatingPointError if a run ended in numbers that are none; it carries the run."""
        if np.any(np.asarray(run.state.stop.outcome) == Outcome.NOT_FINITE.code):
            from funcnet.train._replay import looked_at  # which is made of what stands here

            if isinstance(data, Dataset):
                told = str(looked_at(self, run.state, data, per_epoch))
            else:
                told = f"step {run.state.step} (epoch {run.state.epoch}): loss or gradient is not finite."
            error = FloatingPointError(told)
            error.run = run  # type: ignore[attr-defined]
            raise error

    def checked(
        self, model: PyTree, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[Dataset, Dataset | None]:
        """The data, once everything that a training is called with is known to fit together."""
        _check_order(model, data)
        _check.key(key)
        data = checked_data(self.loss, model, data)
        return data, None if valid is None else checked_data(self.loss, model, valid)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self._run)

    @functools.cached_property
    def _swiftly(self) -> Any:
        return jax.jit(functools.partial(swift_run, self))

    @functools.cached_property
    def pieces(self) -> Any:
        """The compiled parts of this training, for whoever goes through it piece by piece."""
        from funcnet.train._pieces import Pieces  # which is made of what stands here

        return Pieces(self)

    def _run(self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None) -> Run:
        """Begin, advance until nothing is left, and pick the model."""
        measured = self.measured(model, data, key)
        state = self.begin(model, data, key, valid, measured)
        advance: Any = functools.partial(self.advance, data, valid, measured)
        if self.remat:
            advance = jax.checkpoint(advance)
        if self.stopping is None:
            rounds = num_batches(self.epochs, self.eval_every)
            state, _ = jax.lax.scan(advance, state, length=rounds)
        else:
            state = jax.lax.while_loop(self.goes_on, lambda s: advance(s)[0], state)
            state = forward_only(state)
        return self.finished(state)

    def finished(self, state: TrainState) -> Run:
        """The run that ends in this state, with the model that its settings pick."""
        return self.picked(_tree.replace(state, stop=state.stop.finished()))

    def picked(self, state: TrainState) -> Run:
        """The run that has ended in this state."""
        model = current_model(state)
        if self.stopping is not None and self.stopping.restore_best:
            model = _tree.select(state.stop.best_epoch >= 0, state.stop.model, model)
        return Run(model, state)

    def begin(
        self,
        model: PyTree,
        data: Dataset,
        key: Key,
        valid: Dataset | None,
        measured: Totals,
        fair: bool = True,
    ) -> TrainState:
        """The state before the first epoch: nothing measured or stopped.

        Args:
            fair: whether the training rows can be evaluated too, for `train_loss`.
        """
        state = TrainState.create(model, self.optimizer, key)
        values = dict(jax.eval_shape(Totals.means, measured))
        if valid is not None:
            held_out = jax.eval_shape(Totals.means, self.measured(model, valid, None))
            values |= {f"val_{name}": like for name, like in held_out.items()}
            values |= {"train_loss": held_out["loss"]} if fair else {}
        if self.watch is not None:
            values |= jax.eval_shape(self.watch, state, data if fair else None)
        for name, like in values.items():
            _check.history_value(name, like)
        if self.stopping is not None:
            _check.monitored_metric(self.stopping.monitor, values, valid is not None)
            state = _tree.replace(state, stop=self.stopping.begin(state.model))
        return _tree.replace(state, history=History.empty(values, self.epochs))

    def measured(self, model: PyTree, data: Dataset, key: Key | None) -> Totals:
        """What a batch's totals look like, in shapes and dtypes, without computing them."""
        parts = _tree.partition(model, trainable(model))

        def totals(parts: PyTree, data: Dataset) -> Totals:
            return objective(parts[0], parts[1], self.loss, batch_of(data, None, 1), key)[1]

        return jax.eval_shape(totals, parts, data)

    def goes_on(self, state: TrainState) -> Array:
        """Whether nothing has ended the training, and epochs are left."""
        return state.stop.running() & (state.epoch < self.epochs)

    def advance(
        self, data: Dataset, valid: Dataset | None, measured: Totals, state: TrainState, _: None = None
    ) -> tuple[TrainState, None]:
        """The epochs up to the next evaluation, and that."""
        one_pass = self._epoch if self.eval_every == 1 else self._round
        return one_pass(data, valid, measured, state)

    def _round(
        self, data: Dataset, valid: Dataset | None, measured: Totals, state: TrainState, _: None = None
    ) -> tuple[TrainState, None]:
        """`eval_every` epochs, fewer at the end, and a check."""

        def epoch(state: TrainState, _: None) -> tuple[TrainState, None]:
            if self.epochs % self.eval_every == 0:
                return self._epoch(data, valid, measured, state)
            train = functools.partial(self._epoch, data, valid, measured)
            return jax.lax.cond(state.epoch < self.epochs, train, lambda s: (s, None), state)

        state, _ = jax.lax.scan(epoch, state, length=self.eval_every)
        return self.evaluated(data, valid, state), None

    def _epoch(
        self, data: Dataset, valid: Dataset | None, measured: Totals, state: TrainState, _: None = None
    ) -> tuple[TrainState, None]:
        """One pass over the data: a scan over `step`; and a check, if every epoch has one."""
        rows = epoch_rows(len(data), self.order(state, len(data)), self.rows_of_update(len(data)))
        take = self.step_on(data)
        one_step = lambda carry, rows: (take(*carry, rows), None)  # noqa: E731
        (state, seen), _ = jax.lax.scan(one_step, (state, nothing_seen(measured)), rows)
        state = self.end_of_epoch(measured, state, seen)
        return (self.evaluated(data, valid, state) if self.eval_every == 1 else state), None

    def order(self, state: TrainState, rows: int) -> Shuffle | None:
        """The order of the rows in the epoch that is under way; None for that of the data."""
        return epoch_order(state.key, state.epoch, rows) if self.shuffle else None

    def rows_of_update(self, rows: int) -> int:
        """Rows of one update, cut into `accumulate` parts of the same size; padding fills them up."""
        return self.accumulate * num_batches(min(self.batch_size * self.accumulate, rows), self.accumulate)

    def step_on(self, data: Dataset) -> Callable[..., tuple[TrainState, Array]]:
        """`(state, seen, rows) -> (state, seen)`: a step on some rows, and their totals added up."""

        def take(state: TrainState, seen: Array, rows: Rows) -> tuple[TrainState, Array]:
            return self.counted(state, seen, gather(data, *rows))

        return take

    def counted(self, state: TrainState, seen: Array, batch: Batch) -> tuple[TrainState, Array]:
        """A step, and its totals added to those that were seen in the epoch before."""
        state, info = self.step(state, batch)
        found = info.totals.packed()
        if self.on_nan == "skip":  # what is left out of the training is left out of its means
            found = jnp.where(info.finite, found, jnp.zeros_like(found))
        return state, seen + found

    def end_of_epoch(
        self, measured: Totals, state: TrainState, seen: Array, ends: Array | bool = True
    ) -> TrainState:
        """The state with the epoch's means, if it `ends` here.

        As it is, if a step that was not finite ended the run.
        """
        means = Totals.unpacked(measured, seen).means()
        if self.looks_back:
            stop = state.stop.ended(ends & ~jnp.isfinite(means["loss"]), Outcome.NOT_FINITE)
            state = _tree.replace(state, stop=stop)
        finished = ends & state.stop.running()
        return _tree.replace(
            state,
            epoch=state.epoch + finished.astype(jnp.int32),
            history=state.history.at(state.epoch, means, finished),
        )

    def evaluates(self, valid: Dataset | None) -> bool:
        """Whether there is anything to do after an epoch, every so often."""
        return valid is not None or self.watch is not None or self.stopping is not None

    def evaluated(self, data: Dataset | None, valid: Dataset | None, state: TrainState) -> TrainState:
        """The state after an evaluation of the epoch just finished."""
        epoch, running, model = state.epoch - 1, state.stop.running(), current_model(state)
        history = state.history
        if valid is not None:
            rows = max(EVALUATION_ROWS, self.batch_size)
            held_out = total(self.loss, model, valid, min(rows, len(valid))).means()
            values = {f"val_{name}": value for name, value in held_out.items()}
            if data is not None:
                values["train_loss"] = total(self.loss, model, data, min(rows, len(data))).means()["loss"]
            history = history.at(epoch, values, running)
        if self.watch is not None:
            history = history.at(epoch, self.watch(state, data), running)
        if self.stopping is None:
            return _tree.replace(state, history=history)
        values = {name: array[epoch] for name, array in history.items()}
        stop = self.stopping.update(state.stop, epoch, model, values)
        stop = _tree.select(running, stop, state.stop)
        return _tree.replace(state, history=history, stop=stop)


def nothing_seen(measured: Totals) -> Array:
    """The packed totals of no examples."""
    return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), measured).packed()


def _check_order(model: Any, data: Any) -> None:
    """Raise unless a model came first and data second."""
    if callable(data) or isinstance(model, Dataset):
        raise TypeError(
            "a training is called with the model first and the data second; got "
            f"{type(model).__name__} and {type(data).__name__}. Write train(model, data, key)."
        )
    if isinstance(model, Run):
        raise TypeError("a training starts from a model, and a Run came: pass run.model.")

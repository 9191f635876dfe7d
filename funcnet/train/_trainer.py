"""The same training with effects around it: progress, callbacks, checkpoints, resume."""

import contextlib
import dataclasses
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Key, PyTree
from funcnet.data._dataset import take
from funcnet.train._bar import Bar
from funcnet.train._callbacks import (
    NOTHING,
    AnyCallback,
    Callback,
    Request,
    View,
    as_callback,
    joined,
    with_hyper_parameters,
)
from funcnet.train._checkpoint import Checkpoint, Checkpoints
from funcnet.train._dry_run import DryRun, dry_run
from funcnet.train._evaluate import evaluate
from funcnet.train._every import Every
from funcnet.train._fingerprint import fingerprint
from funcnet.train._fit import Fit
from funcnet.train._pieces import Progress
from funcnet.train._result import Run, current_model
from funcnet.train._source import Source, source_of
from funcnet.train._stop import Outcome

VISIT = 0.25
"""Seconds between two visits to the host, where nothing else decides: a tenth of a percent is lost."""


class Trainer:
    """Train as `train` does, with the same call and the same numbers, and watch, save and go on.

    Between two visits to the host any number of steps runs as one compiled program. Where the visits lie
    changes no number, and neither does a callback, but by what it may request. A validation loss may
    differ from `train`'s in its last bit: XLA fuses it with other work.

    With a directory everything that the training is is saved there, now and then, when it ends, when
    something is raised, and on SIGTERM and Ctrl-C, after which the process exits with 143 and 130. The same
    call finds the newest whole checkpoint and goes on with the next batch; where that was in the middle
    of an epoch too. The run is then bit for bit the one that was never interrupted.

    Args:
        train: what `fn.fit` made.
        directory: where checkpoints are written; None to write none.
        callbacks: `funcnet.train.Callback`s, or functions of a `View`.
        progress: whether a line on the terminal shows how far it is; silent where stderr is no terminal.
        every: when the training comes back to the host, an `Every`; by default four times a second, and at
            each epoch's end if a callback may ask for something.
        save_every: how often a checkpoint is written, an `Every`.
        keep: how many of the newest checkpoints stay, at least 1.
        best: a name in the history, such as "val_loss": the checkpoint with its lowest value stays too.
            "-val_accuracy" for the highest.
        resume: "auto" goes on from the newest checkpoint of this same training and refuses that of another;
            "anyway" goes on from that too; "never" begins anew.
        max_time: seconds after which the training stops at the next visit, to be gone on with.
        limit_batches: batches of each epoch, the first in its order; the others are left out.
        evaluate_first: whether the validation rows are evaluated before the first step, so that callbacks
            see it in `on_fit_start` and what is wrong with them shows at once.

    Raises:
        TypeError: if `train` is no `fn.fit(...)`, or a callback or a setting is of the wrong type.
        ValueError: if a setting is out of range; in the call, if the directory holds another training.
        OSError: in the call, if the directory can't be written or another process trains in it.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> data = (x, jnp.sin(3 * x[:, 0]))
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=20)
        >>> model = fn.MLP((1, 16, "scalar")).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = fn.Trainer(train, folder)(model, data, jax.random.key(1))
        ...     again = fn.Trainer(train, folder)(model, data, jax.random.key(1))  # found, not trained
        >>> bool((again.history["loss"] == run.history["loss"]).all()), int(again.state.step)
        (True, 40)
    """

    def __init__(
        self,
        train: Fit,
        directory: str | os.PathLike[str] | None = None,
        callbacks: Iterable[AnyCallback] = (),
        *,
        progress: bool = True,
        every: Every | None = None,
        save_every: Every = Every(seconds=60.0),  # noqa: B008  (frozen)
        keep: int = 3,
        best: str | None = None,
        resume: Literal["auto", "anyway", "never"] = "auto",
        max_time: float | None = None,
        limit_batches: int | None = None,
        evaluate_first: bool = False,
    ) -> None:
        if not isinstance(train, Fit):
            raise TypeError(
                f"a Trainer takes what fn.fit made; got {_check.describe(train)}. Try "
                "fn.Trainer(fn.fit(loss, optax.adam(1e-3), epochs=10))."
            )
        for name, value in {"every": every, "save_every": save_every}.items():
            if not (isinstance(value, Every) or (name == "every" and value is None)):
                raise TypeError(
                    f"{name} is a funcnet.train.Every; got {_check.describe(value)}. Try "
                    f"{name}=fn.train.Every(epochs=1)."
                )
        _check.boolean("progress", progress)
        _check.boolean("evaluate_first", evaluate_first)
        _check.positive("keep", keep)
        if callable(callbacks) or not isinstance(callbacks, Iterable):
            raise TypeError(
                f"callbacks is a list of them; got {_check.describe(callbacks)}. Try callbacks=[callback]."
            )
        if best is not None and not (isinstance(best, str) and best.strip("-")):
            raise TypeError(f"best is a name in the history, such as 'val_loss'; got {best!r}.")
        _check.choice("resume", resume, ("auto", "anyway", "never"))
        if max_time is not None and (isinstance(max_time, bool | str) or not max_time > 0):
            raise ValueError(f"max_time is a number of seconds above 0; got {max_time!r}.")
        if limit_batches is not None:
            _check.positive("limit_batches", limit_batches)
        self.train = train
        self.directory = None if directory is None else Path(directory)
        self.callbacks = [as_callback(callback) for callback in callbacks]
        self.progress, self.every, self.save_every = progress, every, save_every
        self.keep, self.best, self.resume = keep, best, resume
        self.max_time, self.limit_batches = max_time, limit_batches
        self.evaluate_first = evaluate_first

    def __call__(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> Run:
        """Train, or go on training: the arguments and the result of `train`.

        Raises:
            SystemExit: with 143 after SIGTERM and 130 after Ctrl-C, once a checkpoint is written. A second
                Ctrl-C ends it at once.
        """
        source = source_of(self, model, data, key, valid)
        return _Call(self, source, model, key).run()

    def overfit_one_batch(self, model: PyTree, data: PyTree, key: Key, steps: int = 500) -> Run:
        """Train on the first batch alone: a loss that does not go towards its least shows a mistake.

        Args:
            model, data, key: as in the call.
            steps: updates, at least 1.

        Returns:
            A Run; nothing is written, and no callback is called.
        """
        _check.positive("steps", steps)
        source = source_of(self, model, data, key, None)
        rows = take(source.sample, np.arange(min(self.train.batch_size, len(source.sample))))
        train = dataclasses.replace(
            self.train, epochs=steps, eval_every=steps, shuffle=False, stopping=None
        )
        return train(model, rows, key)

    def dry_run(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> DryRun:
        """What a training would be: shapes, parameters, bytes, FLOPs; and one step, to see that it runs.

        Args:
            model, data, key, valid: as in the call.

        Returns:
            A `DryRun`; print it. Nothing is written, and no callback is called.
        """
        return dry_run(self.train, source_of(self, model, data, key, valid), model, key)


class _Call:
    """One call of a Trainer."""

    def __init__(self, trainer: Trainer, source: Source, model: PyTree, key: Key) -> None:
        self.trainer, self.train, self.source = trainer, trainer.train, source
        self.callbacks: list[Callback] = trainer.callbacks
        self.model, self.key = model, key
        self.began = time.monotonic()
        self.bar = Bar(trainer.progress)
        self.store: Checkpoints | None = None
        self.found: Checkpoint | None = None
        self.saved_at, self.saved_step, self.told = time.monotonic(), -1, 0
        self.rate = source.rates.get(source.kind, 0.0)
        self.of_epochs = any(type(c).on_epoch_end is not Callback.on_epoch_end for c in self.callbacks)
        self.shown: tuple[Progress, Any] | None = None
        self.last: tuple[Progress, dict[str, Any]]

    def run(self) -> Run:
        progress = self.source.begin(self.model, self.key)
        with contextlib.ExitStack() as stack:
            names, best = progress.state.history, self.trainer.best
            if best is not None and best.removeprefix("-") not in names:
                raise ValueError(
                    f"best={best!r} is not measured; this training measures {', '.join(names)}."
                )
            if self.trainer.directory is not None:
                self.store = stack.enter_context(self._checkpoints(progress))
                progress = self._found(progress)
            self.told = int(progress.state.epoch)
            stack.callback(self.bar.close)
            stack.callback(self.source.close)
            signals = stack.enter_context(_signals())
            self.last = progress, self._tree(progress)
            try:
                wish = self._tell("on_fit_start", self._first_view(progress))
                self._remember()
                progress = self._loop(self._granted(progress, wish), signals)
                for callback in self.callbacks:
                    callback.on_fit_end(self._view(progress, self.told))
            except BaseException as error:
                self._raised(error)
                raise
        if signals:
            self._leave(signals[0])
        return self._result(progress)

    def _loop(self, progress: Progress, signals: list[int]) -> Progress:
        """Visit after visit, until nothing is left or somebody wants it to end."""
        self.last = progress, self._tree(progress)
        while _left(self.train, progress) and not signals:
            progress = self._visit(progress)
            # What callbacks keep belongs to the state that they have been told of.
            self.last = progress, self._tree(progress)
            if self._late():
                break
        if self.store is not None and self.saved_step != int(progress.state.step):
            self._save(progress)
        if self.store is not None:
            self.store.wait()
        return progress

    def _visit(self, progress: Progress) -> Progress:
        """Some steps, and all that the host does after them."""
        step, began = int(progress.state.step), time.monotonic()
        until = self._until(step)
        progress = jax.block_until_ready(self.source.advance(progress, until))
        done, seconds = int(progress.state.step) - step, time.monotonic() - began
        # The first visit is one step long and most of it is compiling.
        if self.rate or done > 1:
            self.rate = self.source.rates[self.source.kind] = done / seconds
        else:
            self.rate = 1.0 / VISIT
        epoch = int(progress.state.epoch)
        history, save, told = None, False, self.told
        if told < epoch:
            history = _lists(progress)
            for ended in range(told + 1, epoch + 1) if self.of_epochs else ():
                view = self._view(progress, ended, history, newest=ended == epoch)
                wish, self.told = self._tell("on_epoch_end", view), ended
                progress, save = self._granted(progress, wish), save or wish.save
            self.told = epoch
            view = dataclasses.replace(self._view(progress, epoch, history), history=history, told=told)
            for callback in self.callbacks:
                callback.on_visit(view)
        self.bar.show(functools.partial(self._view, progress, epoch, history))
        if self.store is not None and (save or self._due(step, int(progress.state.step))):
            self._save(progress)
        return progress

    def _until(self, step: int) -> int:
        """The step at which to be back."""
        per_epoch, every = self.source.per_epoch, self.trainer.every
        ends = [self.train.epochs * per_epoch]
        chosen = None if every is None else every.next_step(step, per_epoch)
        if chosen is None:
            seconds = VISIT if every is None else float(every.seconds or VISIT)
            chosen = step + max(1, int(self.rate * seconds))
        ends.append(chosen)
        if not all(
            callback.observes for callback in self.callbacks
        ):  # what is asked for must not hang on visits
            ends.append((step // per_epoch + 1) * per_epoch)
        if (
            save := self.trainer.save_every.next_step(step, per_epoch)
        ) is not None and self.store is not None:
            ends.append(save)
        return min(ends)

    def _due(self, before: int, now: int) -> bool:
        save = self.trainer.save_every
        if save.seconds is not None:
            return time.monotonic() - self.saved_at >= save.seconds
        return now >= (save.next_step(before, self.source.per_epoch) or 0)

    def _late(self) -> bool:
        limit = self.trainer.max_time
        return limit is not None and time.monotonic() - self.began >= limit

    def _first_view(self, progress: Progress) -> View:
        view, valid = self._view(progress, self.told), self.source.valid
        if not self.trainer.evaluate_first or valid is None:
            return view
        found = evaluate(self.train.loss, view.model, valid)
        return dataclasses.replace(view, values={f"val_{n}": float(v) for n, v in found.items()})

    def _view(self, progress: Progress, epoch: int, history: Any = None, newest: bool = True) -> View:
        if self.shown is None or self.shown[0] is not progress:
            # New containers around the same arrays: whoever writes into a view changes the view.
            self.shown = progress, jax.tree.map(lambda leaf: leaf, progress.state)
        return View(
            state=self.shown[1],
            epoch=epoch,
            values=self._values(progress, epoch, history),
            epochs=self.train.epochs,
            steps_per_epoch=self.source.per_epoch,
            seconds=time.monotonic() - self.began,
            directory=self.trainer.directory,
            loss=self.train.loss,
            source=self.source,
            newest=newest,
        )

    def _values(self, progress: Progress, epoch: int, history: Any = None) -> dict[str, float]:
        if epoch == 0:
            return {}
        history = _lists(progress) if history is None else history
        found = ((name, values[epoch - 1]) for name, values in history.items())
        return {name: value for name, value in found if value == value}  # NaN: not measured

    def _granted(self, progress: Progress, wish: Request) -> Progress:
        """The progress with what callbacks asked for done to it."""
        state = progress.state
        if not (wish.hyper_parameters or wish.stop):
            return progress
        if wish.hyper_parameters:
            state = with_hyper_parameters(state, wish.hyper_parameters)
        if wish.stop:
            state = _tree.replace(state, stop=state.stop.ended(jnp.array(True), Outcome.REQUESTED))
        return _tree.replace(progress, state=state)

    def _tell(self, moment: str, view: View) -> Request:
        wish = NOTHING
        for callback in self.callbacks:
            if (answer := getattr(callback, moment)(view)) is not None:
                wish = joined(wish, callback, answer)
        return wish

    def _checkpoints(self, progress: Progress) -> Any:
        trainer = self.trainer
        identity = fingerprint(self.train, progress, self.model, self.source, self.key)
        assert trainer.directory is not None
        return Checkpoints(trainer.directory, trainer.keep, trainer.best, identity).open()

    def _found(self, progress: Progress) -> Progress:
        """Where the newest checkpoint stands; the beginning, if there is none."""
        assert self.store is not None
        if self.trainer.resume == "never":
            self.store.put_aside()
            return progress
        self.found = self.store.newest(self.trainer.resume == "anyway")
        if self.found is None:
            return progress
        self.found.lengthen("['state'].state.history.", self.train.epochs)
        progress = self.found.part("state", progress)
        self.saved_step = int(progress.state.step)
        return progress

    def _remember(self) -> None:
        """Give callbacks back what they had kept. They have begun by now, so that their shape is known."""
        for name, callback in self._named().items():
            kept = callback.state()
            if self.found is not None and kept is not None and self.found.holds(name):
                callback.restore(self.found.part(name, kept, same_shapes=False))

    def _named(self) -> dict[str, Callback]:
        """Callbacks by their kind, and by their number among those of it."""
        names: dict[str, Callback] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            names[f"{kind} {sum(name.startswith(kind + ' ') for name in names)}"] = callback
        return names

    def _tree(self, progress: Progress) -> dict[str, Any]:
        """All that a checkpoint holds."""
        if self.store is None:
            return {}
        kept = {name: callback.state() for name, callback in self._named().items()}
        return {"state": progress} | {name: state for name, state in kept.items() if state is not None}

    def _save(self, progress: Progress, tree: dict[str, Any] | None = None) -> None:
        assert self.store is not None
        epoch, step = int(progress.state.epoch), int(progress.state.step)
        facts = {
            "epoch": epoch,
            "epochs": self.train.epochs,
            "values": self._values(progress, epoch),
            "history": {
                name: [None if math.isnan(value) else value for value in values]
                for name, values in _lists(progress).items()
            },
            "outcome": self._outcome(progress).name,
            "seconds": round(time.monotonic() - self.began, 3),
        }
        self.store.save(self._tree(progress) if tree is None else tree, step, facts)
        self.saved_at, self.saved_step = time.monotonic(), step
        if tree is None:
            for callback in self.callbacks:
                callback.on_checkpoint(self._view(progress, epoch))

    def _outcome(self, progress: Progress) -> Outcome:
        """How the training stands; without epochs left it is finished, and its state says so in the end."""
        outcome = Run(None, progress.state).outcome
        done = outcome == Outcome.RUNNING and int(progress.state.epoch) == self.train.epochs
        return Outcome.FINISHED if done else outcome

    def _raised(self, error: BaseException) -> None:
        """Save what there was before it, and tell; the first error is the one to see."""
        progress, tree = self.last
        if self.store is not None and self.saved_step != int(progress.state.step):
            with contextlib.suppress(OSError):
                self._save(progress, tree)
                self.store.wait()
        view = self._view(progress, int(progress.state.epoch))
        for callback in self.callbacks:
            try:
                callback.on_exception(view, error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.on_exception failed, too: {another!r}")

    def _leave(self, number: int) -> None:
        name = signal.Signals(number).name
        told = (
            f"{name}: stopped after step {self.saved_step}, which is saved in {self.trainer.directory}. "
            "Run the same again to go on."
            if self.store is not None
            else f"{name}: stopped, and nothing is saved. With fn.Trainer(train, directory=...) the same "
            "call goes on."
        )
        print(told, file=sys.stderr)
        raise SystemExit(128 + number)

    def _result(self, progress: Progress) -> Run:
        state = progress.state
        if int(state.epoch) < self.train.epochs and bool(state.stop.running()):
            return Run(current_model(state), state)  # out of time: there is more to do
        run = self.train.finished(state)
        if self.train.on_nan == "raise":
            self.train.raise_if_broken(run, self.source.data, self.source.per_epoch)
        return run


def _lists(progress: Progress) -> dict[str, list[float]]:
    """The history on the host."""
    found = jax.device_get(dict(progress.state.history))
    return {name: np.asarray(values, float).tolist() for name, values in found.items()}


def _left(train: Fit, progress: Progress) -> bool:
    state = progress.state
    return bool(state.stop.running()) and int(state.epoch) < train.epochs


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGTERM and SIGINT as entries of a list; a second one does what it always does."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def noted(number: int, _: Any) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, noted)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

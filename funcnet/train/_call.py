"""One call of a Trainer: visit after visit, with all that happens on the host between two of them."""

import contextlib
import dataclasses
import signal
import sys
import time
from typing import Any

import jax.numpy as jnp

from funcnet import _tree
from funcnet._types import Key, PyTree
from funcnet.train import _signals
from funcnet.train._bar import Bar
from funcnet.train._callbacks import (
    NOTHING,
    Callback,
    CallbackContext,
    Request,
    joined,
    set_hyperparams,
)
from funcnet.train._evaluate import evaluate
from funcnet.train._progress import Progress, measured_at
from funcnet.train._result import Run, current_model
from funcnet.train._saver import Saver
from funcnet.train._source import Source
from funcnet.train._stop import Outcome

VISIT = 0.25
"""Seconds between two visits to the host, where nothing else decides: a tenth of a percent is lost."""


class Call:
    """A training under way.

    Args:
        trainer: whose call it is.
        source: the data.
        model, key: where it starts.
    """

    def __init__(self, trainer: Any, source: Source, model: PyTree, key: Key) -> None:
        self.trainer, self.train, self.source = trainer, trainer.train, source
        self.callbacks: list[Callback] = trainer.callbacks
        self.model, self.key = model, key
        self.began = time.monotonic()
        self.bar = Bar(trainer.progress)
        self.saver = Saver(trainer)
        self.rate = source.rates.get(source.kind, 0.0)
        self.started = False
        """Whether the first steps began before the first visit."""
        self.told = 0
        """Epochs that callbacks have been told of."""
        self.tells_epochs = any(type(c).on_epoch_end is not Callback.on_epoch_end for c in self.callbacks)
        self.may_ask = not all(callback.read_only for callback in self.callbacks)
        self.last: tuple[Progress, dict[str, Any]]

    def run(self) -> Run:
        """Train until nothing is left, or somebody wants it to end.

        Raises:
            SystemExit: after a signal.
        """
        progress = self.source.begin(self.model, self.key)
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(self.saver.open(progress, self.model, self.source, self.key))
            self.told = progress.epoch
            stack.callback(self.bar.close)
            stack.callback(self.source.close)
            signals = stack.enter_context(_signals.noted())
            self._keep(progress)
            try:
                self._start(progress)
                wish = self._tell("on_fit_start", self._first_view(progress))
                self.saver.remember()
                progress = self._loop(_granted(progress, wish), signals)
                for callback in self.callbacks:
                    callback.on_fit_end(self._view(progress, self.told))
            except BaseException as error:
                self._raised(error)
                raise
        if signals:
            self._leave(signals[0])
        return self._result(progress)

    def _loop(self, progress: Progress, signals: list[int]) -> Progress:
        """Visit after visit."""
        self._keep(progress)
        while progress.goes_on(self.train.epochs) and not signals:
            progress = self._visit(progress)
            # What callbacks keep belongs to the state that they have been told of.
            self._keep(progress)
            if self._late():
                break
        self._save(progress)
        self.saver.wait()
        return progress

    def _start(self, progress: Progress) -> None:
        """The first steps run while callbacks begin, if nobody may ask and such steps ran before."""
        waits = self.may_ask or self.trainer.evaluate_first or not self.rate
        if not waits and progress.goes_on(self.train.epochs):
            self.started = self.source.start(progress, self._until(progress.step))

    def _visit(self, progress: Progress) -> Progress:
        """Some steps, and all that the host does after them."""
        before, began = progress.step, time.monotonic()
        progress = self.source.advance(progress, self._until(before))
        step, seconds = progress.step, time.monotonic() - began
        # The first visit is one step long and most of it is compiling.
        if self.started:  # its time holds what callbacks did as they began
            self.started = False
        elif self.rate or step - before > 1:
            self.rate = self.source.rates[self.source.kind] = (step - before) / seconds
        else:
            self.rate = 1.0 / VISIT
        epoch, save = progress.epoch, False
        if self.told < epoch:
            told = self.told
            for ended in range(told + 1, epoch + 1) if self.tells_epochs else ():
                wish = self._tell("on_epoch_end", self._view(progress, ended))
                progress, save, self.told = _granted(progress, wish), save or wish.save, ended
            self.told = epoch
            past = {name: list(values) for name, values in progress.history.items()}
            view = self._view(progress, epoch, history=past, told=told)
            for callback in self.callbacks:
                callback.on_sync(view)
        self.bar.show(lambda: self._view(progress, epoch))
        if save or self.saver.due(before, step, self.source.per_epoch):
            self._save(progress)
        return progress

    def _until(self, step: int) -> int:
        """The step at which to be back."""
        per_epoch, every = self.source.per_epoch, self.trainer.sync_every
        chosen = None if every is None else every.next_step(step, per_epoch)
        if chosen is None:
            seconds = VISIT if every is None else float(every.seconds or VISIT)
            chosen = step + max(1, int(self.rate * seconds))
        ends = [chosen, self.train.epochs * per_epoch]
        if self.may_ask:  # and what is asked for must not hang on where visits lie
            ends.append((step // per_epoch + 1) * per_epoch)
        if (save := self.saver.next_step(step, per_epoch)) is not None:
            ends.append(save)
        return min(ends)

    def _late(self) -> bool:
        limit = self.trainer.max_time
        return limit is not None and time.monotonic() - self.began >= limit

    def _keep(self, progress: Progress) -> None:
        """What is saved if something is raised before the next visit is over."""
        self.last = progress, self.saver.content(progress)

    def _save(self, progress: Progress) -> None:
        if self.saver.save(progress):
            view = self._view(progress, progress.epoch)
            for callback in self.callbacks:
                callback.on_checkpoint(view)

    def _first_view(self, progress: Progress) -> CallbackContext:
        view, valid = self._view(progress, self.told), self.source.valid
        if not self.trainer.evaluate_first or valid is None:
            return view
        found = evaluate(self.train.loss, view.model, valid)
        return dataclasses.replace(view, values={f"val_{n}": float(v) for n, v in found.items()})

    def _view(self, progress: Progress, epoch: int, **besides: Any) -> CallbackContext:
        return CallbackContext(
            progress,
            epoch=epoch,
            values=measured_at(progress.history, epoch) if epoch else {},
            epochs=self.train.epochs,
            steps_per_epoch=self.source.per_epoch,
            seconds=time.monotonic() - self.began,
            directory=self.trainer.directory,
            loss=self.train.loss,
            source=self.source,
            newest=epoch == progress.epoch,
            **besides,
        )

    def _tell(self, moment: str, view: CallbackContext) -> Request:
        wish = NOTHING
        for callback in self.callbacks:
            if (answer := getattr(callback, moment)(view)) is not None:
                wish = joined(wish, callback, answer)
        return wish

    def _raised(self, error: BaseException) -> None:
        """Save what there was before it, and tell; the first error is the one to see."""
        progress, content = self.last
        with contextlib.suppress(OSError):
            if self.saver.save(progress, content):
                self.saver.wait()
        view = self._view(progress, progress.epoch)
        for callback in self.callbacks:
            try:
                callback.on_exception(view, error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.on_exception failed, too: {another!r}")

    def _leave(self, number: int) -> None:
        name, directory = signal.Signals(number).name, self.trainer.directory
        told = (
            f"{name}: stopped after step {self.saver.step}, which is saved in {directory}. Run the same "
            "again to go on."
            if directory is not None
            else f"{name}: stopped, and nothing is saved. With fn.Trainer(train, directory=...) the same "
            "call goes on."
        )
        print(told, file=sys.stderr)
        raise SystemExit(128 + number)

    def _result(self, progress: Progress) -> Run:
        if progress.goes_on(self.train.epochs):
            return Run(current_model(progress.state), progress.state)  # out of time: there is more to do
        run: Run = self.train.pieces.finished(progress)
        if self.train.on_nan == "raise":
            self.train.raise_if_broken(run, self.source.data, self.source.per_epoch)
        return run


def _granted(progress: Progress, wish: Request) -> Progress:
    """The progress with what callbacks asked for done to it."""
    state = progress.state
    if not (wish.hyperparams or wish.stop):
        return progress
    if wish.hyperparams:
        state = set_hyperparams(state, wish.hyperparams)
    if wish.stop:
        state = _tree.replace(state, stop=state.stop.ended(jnp.array(True), Outcome.REQUESTED))
    return _tree.replace(progress, state=state)

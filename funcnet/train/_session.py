"""One call of a Trainer: it runs chunks of steps, and does the work of the host between them."""

import contextlib
import dataclasses
import time
from typing import Any, NamedTuple, NoReturn

import jax.numpy as jnp

from funcnet import _parts, _processes, _tree
from funcnet._types import Key, PyTree
from funcnet.train import _signals
from funcnet.train._bar import Bar
from funcnet.train._best import Best, as_best, best_of_early_stopping
from funcnet.train._callbacks import Callback, CallbackContext, Snapshot
from funcnet.train._chunks import LAST_STEP
from funcnet.train._digest import check_equal
from funcnet.train._epoch import finish
from funcnet.train._evaluate import evaluate
from funcnet.train._progress import Progress, metrics_at
from funcnet.train._replay import raise_if_not_finite
from funcnet.train._request import NOTHING, Request, agree_on, apply_request, check_no_answer, join_requests
from funcnet.train._result import Run, evaluated_model
from funcnet.train._saver import Saver
from funcnet.train._source import Source

SYNC_SECONDS = 0.25
"""Default seconds between two syncs with the host. Syncs then take 0.1 % of the time."""


class Turn(NamedTuple):
    """What happens next: all processes agree on it between two chunks.

    Args:
        until: the step at which to return to the host.
        save: whether a checkpoint is due.
        signal: the number of a signal that a process received; 0 if none.
        is_late: whether the time limit is reached.
    """

    until: int
    save: bool
    signal: int
    is_late: bool


class Session:
    """A run in progress.

    Args:
        trainer: the Trainer that was called.
        source: the data.
        model, key: the initial model and the key of the run.
    """

    def __init__(self, trainer: Any, source: Source, model: PyTree, key: Key) -> None:
        self.trainer, self.plan, self.source = trainer, source.plan, source
        self.callbacks: list[Callback] = trainer.callbacks
        self.model, self.key = model, key
        self.began = time.monotonic()
        self.bar = Bar(trainer.progress if _processes.is_first() else False)
        self.saver = Saver(trainer, source.plan)
        self.rate = source.rates.get(source.kind, 0.0)
        self.reported_epoch = 0
        """The number of epochs that have been reported to callbacks."""
        self.reports_epochs = any(type(c).on_epoch_end is not Callback.on_epoch_end for c in self.callbacks)
        self.may_request = not all(callback.read_only for callback in self.callbacks)
        self.safe: tuple[Progress, dict[str, Any]] | None = None
        """What is saved after an exception: state and callbacks as of the last sync. None before callbacks
        have started, since their state would be that of another run."""

    def run(self) -> Run:
        """Train until the run ends, or until a signal or the time limit interrupts it.

        Raises:
            SystemExit: after a signal.
        """
        self._check_settings()
        progress = self.source.start(self.model, self.key)
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(self.saver.open(progress, self.model, self.source, self.key))
            progress = progress.with_values(self.saver.values)
            if self.saver.step >= 0:
                self._announce(progress)
            self.reported_epoch = progress.epoch
            stack.callback(self.bar.close)
            stack.callback(self.source.close)
            self.signals = stack.enter_context(_signals.record_signals())
            try:
                context = self._first_context(progress)
                request = agree_on(lambda: self._notify("on_fit_start", context))
                if request.values:
                    raise ValueError(
                        f"on_fit_start can't request the value {min(request.values)!r}, which belongs to "
                        "an epoch. Return it from on_epoch_end."
                    )
                with _processes.together():
                    self.saver.restore_callbacks()
                progress = self._apply(progress, request)
                self.safe = progress, self.saver.content(progress)
                if request.save:
                    with _processes.together():
                        self._save(progress)
                turn = self._next_turn(progress, None)
                while progress.should_continue(self.plan.epochs) and not (turn.signal or turn.is_late):
                    before = progress.step
                    progress = self._advance(progress, turn.until)
                    progress, save, error = self._report(progress)
                    turn = self._next_turn(progress, before, save, error)
                    if turn.save:
                        with _processes.together():
                            self._save(progress)
                    # The state of callbacks belongs to the epochs that were reported to them.
                    self.safe = progress, self.saver.content(progress)
                with _processes.together():
                    self._save(progress)
                    self.saver.wait()
                    self._inform("on_fit_end", self._context(progress, self.reported_epoch))
                signal_number = self._signal_of_any()
            except BaseException as error:
                self._save_after(progress, error)
                raise
        if signal_number:
            self._exit(signal_number)
        in_parts = _parts.is_spread(progress.state.model)
        return _processes.to_local(self._result(progress), gather=not in_parts)

    def _announce(self, progress: Progress) -> None:
        """Say that the run was resumed, and where."""
        where = f"{self.trainer.directory}: resumed after step {progress.step:,}"
        if progress.should_continue(self.plan.epochs):
            self.bar.announce(f"{where}, in epoch {progress.epoch + 1} of {self.plan.epochs}.")
        else:
            self.bar.announce(f"{where}, its last: there is nothing left to train.")

    def _check_settings(self) -> None:
        """Check that all processes run this Trainer in the same way."""
        names = ("directory", "keep_best", "resume", "limit_batches", "evaluate_first")
        settings = {f"{name} of the Trainer": str(getattr(self.trainer, name)) for name in names}
        settings["callbacks"] = ", ".join(type(callback).__name__ for callback in self.callbacks) or "none"
        check_equal(settings)

    def _advance(self, progress: Progress, until: int) -> Progress:
        """Make steps until step `until`."""
        before, began = progress.step, time.monotonic()
        progress = self.source.advance(progress, until).with_values(self.saver.values)
        seconds = time.monotonic() - began
        if self.rate:
            self.rate = self.source.rates[self.source.kind] = (progress.step - before) / seconds
        else:  # most of the time of the very first chunk is compiling
            self.rate = 1.0 / SYNC_SECONDS
        return progress

    def _report(self, progress: Progress) -> tuple[Progress, bool, Exception | None]:
        """Report to callbacks and update the progress bar.

        Returns:
            The progress, with what callbacks requested; whether one requested to save; and an error, which
            is raised once all processes know of it.
        """
        epoch, save = progress.epoch, False
        try:
            if self.reported_epoch < epoch:
                progress, save = self._report_epochs(progress)
            self.bar.show(lambda: self._context(progress, epoch))
        except Exception as error:
            if _processes.count() == 1 or isinstance(error, _processes.OutOfStepError):
                raise
            return progress, save, error
        return progress, save, None

    def _report_epochs(self, progress: Progress) -> tuple[Progress, bool]:
        """Report the epochs that have ended since the last report; whether to save was requested, too."""
        epoch, save, previous = progress.epoch, False, self.reported_epoch
        for finished in range(previous + 1, epoch + 1) if self.reports_epochs else ():
            context = self._context(progress, finished)
            if self.may_request:
                request = agree_on(lambda: self._notify("on_epoch_end", context))  # noqa: B023
            else:
                request = self._notify("on_epoch_end", context)
            self._check_values(progress, request)
            self.saver.record(finished, request.values)
            progress, save = self._apply(progress, request), save or request.save
        self.saver.check_keep_best(progress.history)
        self.saver.observe(progress)  # after the callbacks, whose values it may be about
        self.reported_epoch = epoch
        history = {name: list(values) for name, values in progress.history.items()}
        context = self._context(progress, epoch, history=history, reported_epoch=previous)
        self._inform("on_sync", context)
        return progress, save

    def _next_turn(
        self, progress: Progress, before: int | None, save: bool = False, error: Exception | None = None
    ) -> Turn:
        """What all processes do next, by one small exchange between them.

        Args:
            progress: the progress so far.
            before: the step at the turn before; None at the first one.
            save: whether a callback requested to save.
            error: what a callback of this process has raised.
        """
        step = progress.step
        if error is None and progress.should_continue(self.plan.epochs):
            until = self._next_sync(step)
        else:
            until = step
        is_due = before is not None and self.saver.is_due(before, step, self.source.per_epoch)
        numbers = [
            until if _processes.is_first() else 0,  # the speeds of processes differ
            save or is_due,
            self.signals[0] if self.signals else 0,
            before is not None and self._is_out_of_time(),
            error is not None,
        ]
        try:
            until, saves, number, is_late, failed = _processes.largest(numbers)
        except _processes.OutOfStepError as out_of_step:
            raise out_of_step from error
        if failed:
            _processes.raise_first(error)
        return Turn(until, bool(saves), number, bool(is_late))

    def _signal_of_any(self) -> int:
        """The number of a signal that a process has received; 0 if none has."""
        return _processes.largest([self.signals[0] if self.signals else 0])[0]

    def _next_sync(self, step: int) -> int:
        """The step at which to return to the host.

        Raises:
            OverflowError: if no further step can be counted.
        """
        if step == LAST_STEP:
            raise OverflowError(
                f"a Trainer counts at most {LAST_STEP:,} steps, and this run has made them all. Use a "
                "larger batch_size, or start a new run from this model."
            )
        per_epoch, every = self.source.per_epoch, self.trainer.sync_every
        chosen = None if every is None else every.next_step(step, per_epoch)
        if chosen is None:
            seconds = SYNC_SECONDS if every is None else float(every.seconds or SYNC_SECONDS)
            chosen = step + max(1, int(self.rate * seconds))
        ends = [chosen, self.plan.epochs * per_epoch, LAST_STEP]
        # The effect of a request must not depend on when syncs happen, and `keep_best` sees every epoch.
        if self.may_request or self.trainer.keep_best is not None:
            ends.append((step // per_epoch + 1) * per_epoch)
        if (save := self.saver.next_step(step, per_epoch)) is not None:
            ends.append(save)
        return min(ends)

    def _is_out_of_time(self) -> bool:
        limit = self.trainer.max_time
        return limit is not None and time.monotonic() - self.began >= limit

    def _save(self, progress: Progress) -> None:
        if self.saver.save(progress):
            context = self._context(progress, progress.epoch)
            self._inform("on_checkpoint", context)

    def _first_context(self, progress: Progress) -> CallbackContext:
        context, valid = self._context(progress, self.reported_epoch), self.source.valid
        if not self.trainer.evaluate_first or valid is None:
            return context
        metrics = evaluate(self.plan.loss, context.model, valid)
        return dataclasses.replace(
            context, metrics={f"val_{name}": float(value) for name, value in metrics.items()}
        )

    def _context(self, progress: Progress, epoch: int, **more: Any) -> CallbackContext:
        snapshot = Snapshot(
            progress,
            epochs=self.plan.epochs,
            steps_per_epoch=self.source.per_epoch,
            directory=self.trainer.directory,
            loss=self.plan.loss,
            sample=lambda: self.source.sample,
            batches=lambda: self.source.batches(
                progress.state.key if self.plan.shuffle else None, progress.epoch
            ),
            callbacks=self.callbacks,
            is_latest=epoch == progress.epoch,
            **more,
        )
        return CallbackContext(epoch, metrics_at(progress.history, epoch) if epoch else {}, snapshot)

    def _notify(self, method: str, context: CallbackContext) -> Request:
        """Call a method of every callback, and return their joined requests.

        The values that one requests are metrics for those after it.
        """
        request = NOTHING
        for callback in self.callbacks:
            if (answer := getattr(callback, method)(context)) is not None:
                request = join_requests(request, callback, answer)
                known = {name: value for name, value in request.values.items() if value == value}
                context = dataclasses.replace(context, metrics={**context.metrics, **known})
        return request

    def _inform(self, method: str, context: CallbackContext) -> None:
        """Call a method of every callback that requests nothing."""
        for callback in self.callbacks:
            check_no_answer(f"{type(callback).__name__}.{method}", getattr(callback, method)(context))

    def _check_values(self, progress: Progress, request: Request) -> None:
        if taken := request.values.keys() & progress.state.history.keys():
            raise ValueError(
                f"the history has a value {min(taken)!r} of its own. Rename that of the callback: "
                f"fn.train.Request(values={{'my_{min(taken)}': ...}})."
            )

    def _apply(self, progress: Progress, request: Request) -> Progress:
        state = apply_request(progress.state, request)
        changed = progress if state is progress.state else _tree.replace(progress, state=state)
        return changed.with_values(self.saver.values)

    def _save_after(self, progress: Progress, error: BaseException) -> None:
        """Save the last safe state and notify callbacks; `error` remains the error that is raised."""
        if self.safe is not None:
            progress, content = self.safe
            with contextlib.suppress(OSError):
                self.saver.save_last(progress, content)
        context = self._context(progress, progress.epoch)
        for callback in self.callbacks:
            try:
                callback.on_exception(context, error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.on_exception failed, too: {another!r}")

    def _exit(self, number: int) -> NoReturn:
        directory = self.trainer.directory
        message = (
            f"stopped after step {self.saver.step}; the checkpoint is in {directory}. Run the same command "
            "again to resume."
            if directory is not None
            else "stopped; nothing was saved. To be able to resume, use fn.Trainer(train, directory=...)."
        )
        _signals.exit_after(number, message)

    def _result(self, progress: Progress) -> Run:
        """The result of the run, with the values that callbacks requested in its history."""
        run = self._run_until(progress)
        if not self.saver.values:
            return run
        history = run.state.history
        arrays = history.arrays | {name: jnp.asarray(column) for name, column in self.saver.values.items()}
        state = _tree.replace(run.state, history=_tree.replace(history, arrays=arrays))
        return _tree.replace(run, state=state)

    def _no_best(self) -> Best | None:
        """What a run holds if `keep_best` found no best epoch; None without it."""
        return None if self.trainer.keep_best is None else as_best(None, -1, float("nan"))

    def _run_until(self, progress: Progress) -> Run:
        best = self.saver.best
        if progress.should_continue(self.plan.epochs):  # out of time
            best = best or best_of_early_stopping(progress.state.stopping) or self._no_best()
            return Run(evaluated_model(progress.state), progress.state, best)
        run = _tree.replace(finish(self.plan, progress.state), best_state=best or self._no_best())
        if self.plan.on_nan == "raise":
            raise_if_not_finite(self.plan, run, self.source.data, self.source.per_epoch)
        return run

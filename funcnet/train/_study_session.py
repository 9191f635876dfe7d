"""One call of the Trainer of a study: it runs blocks of members, and does the work of the host between."""

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from funcnet import _processes, _tree
from funcnet.train import _signals
from funcnet.train._bar import StudyBar
from funcnet.train._blocks import BlockStudy, MemberResults, Stage, open_folder, to_host
from funcnet.train._callbacks import StudyContext
from funcnet.train._digest import check_equal
from funcnet.train._request import NOTHING, Request, check_no_answer, join_requests


class IncompleteStudyError(RuntimeError):
    """Raised when a study ends before all members are done: by `max_time`, or as a callback requested.

    Args:
        message: what ended it, and how to continue.
        done: the number of members that are done.
        total: the number of all members.

    Example:
        >>> import funcnet as fn
        >>> error = fn.train.IncompleteStudyError("out of time", done=312, total=1000)
        >>> error.done, error.total
        (312, 1000)
    """

    def __init__(self, message: str, done: int = 0, total: int = 0) -> None:
        super().__init__(message)
        self.done, self.total = done, total


class _Signalled(BaseException):
    """Ends the call of the study after a signal."""


class StudySession:
    """A study in progress.

    Args:
        trainer: the Trainer that was called.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.study: BlockStudy = trainer.train
        self.callbacks = trainer.callbacks
        self.bar = StudyBar(trainer.progress if _processes.is_first() else False)
        self.began = time.monotonic()
        self.done, self.total = 0, self.study.num_members
        self.stages = 0
        """The number of stages that have begun."""
        self.has_trained = False
        """Whether this call has trained a block: however short `max_time` is, it trains one."""
        self.request = NOTHING
        self.signals: list[int] = []
        self.signal = 0
        """The number of the signal that ends the study; 0 if none does."""
        self.folder: Path | None = None

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the study, until it is complete, or a signal, the time limit or a callback ends it.

        Raises:
            SystemExit: after a signal.
            IncompleteStudyError: after the time limit, or if a callback requests it.
        """
        if _tree.is_traced() or not _tree.is_concrete((args, kwargs)):
            raise TypeError(
                "the Trainer of a study must not be called inside jit, vmap or grad: it runs on the host. "
                "Call the study itself there."
            )
        names = ("directory", "resume")
        check_equal({f"{name} of the Trainer": str(getattr(self.trainer, name)) for name in names})
        result, start_over = None, self.trainer.resume == "never"
        with contextlib.ExitStack() as stack:
            folder = open_folder(self.trainer.directory, start_over=start_over)
            self.folder = stack.enter_context(folder)
            stack.callback(self.bar.close)
            self.signals = stack.enter_context(_signals.record_signals())
            try:
                with _processes.together():
                    self._notify("on_fit_start")
                result = self.study.run_in_blocks(self._run_stage, *args, **kwargs)
                with _processes.together():
                    self._inform("on_fit_end")
            except (_Signalled, IncompleteStudyError) as end:
                with _processes.together():
                    self._inform("on_fit_end")
                if isinstance(end, IncompleteStudyError):
                    raise
            except BaseException as error:
                self._inform_of(error)
                raise
        # Also one that came to any process in the last block.
        if number := _processes.largest([self.signal or (self.signals[0] if self.signals else 0)])[0]:
            _signals.exit_after(number, f"stopped; {self._state()}.")
        return result

    def _run_stage(self, stage: Stage) -> dict[str, np.ndarray]:
        """The results of all members of a stage: those that are kept, and the others trained now."""
        members = MemberResults(self.folder, self.stages, stage)
        self.stages += 1
        if stage.is_repeat:
            self.done = 0
        members.restore(force=self.trainer.resume == "force")
        kept = int(members.done.sum())
        if kept and self.folder is not None:
            self.bar.announce(f"{self.folder}: {kept:,} of {stage.size:,} members were kept.")
        self._report(stage, kept)
        try:
            for first in range(0, stage.size, members.width):
                if members.done[first : first + members.width].all():
                    continue
                self._check_end()
                results = to_host(stage.run(first, members.width))
                with _processes.together():
                    self._report(stage, members.add(first, results))
                    self.has_trained = True
                    self._notify("on_block_end")
                    if members.write_if_due() or (self.request.save and members.write()):
                        self._inform("on_checkpoint")
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to raise
                members.write()
            raise
        with _processes.together():
            if members.write():
                self._inform("on_checkpoint")
        return members.arrays

    def _report(self, stage: Stage, count: int) -> None:
        """Add members that are done, as the study's own `progress` and the bar show."""
        self.done += count
        if stage.progress is not None and count:
            stage.progress(count)
        self.bar.show(self._context)

    def _check_end(self) -> None:
        """Raise if the study is to end before its next block."""
        limit = self.trainer.max_time
        is_late = limit is not None and self.has_trained and time.monotonic() - self.began >= limit
        # If one process ends, all do.
        self.signal, stop, is_late = _processes.largest(
            [self.signals[0] if self.signals else 0, self.request.stop, is_late]
        )
        if self.signal:
            raise _Signalled
        reason = None
        if stop:
            reason = "a callback stopped the study"
        elif is_late:
            reason = "max_time is over" if limit is None else f"max_time of {limit:g} s is over"
        if reason is not None:
            raise IncompleteStudyError(f"{reason}; {self._state()}.", self.done, self.total)

    def _state(self) -> str:
        """How many members are done, and how to continue."""
        done, directory = f"{self.done:,} of {self.total:,} members are done", self.trainer.directory
        if directory is None:
            return f"{done}; nothing was saved. To be able to resume, use fn.Trainer(study, directory=...)"
        return f"{done} and kept in {directory}. Run the same command again to resume"

    def _context(self) -> StudyContext:
        return StudyContext(self.done, self.total)

    def _notify(self, method: str) -> None:
        """Call a method of every callback, and record what they request."""
        request = NOTHING
        for callback in self.callbacks:
            if (answer := getattr(callback, method)(self._context())) is not None:
                request = join_requests(request, callback, answer)
        if request.hyperparams or request.values:
            raise ValueError(
                f"{method} of a study can request fn.train.Request(stop=..., save=...), got {request}: its "
                "members have hyperparams and a history of their own."
            )
        self.request = Request(stop=self.request.stop or request.stop, save=request.save)

    def _inform(self, method: str) -> None:
        """Call a method of every callback that requests nothing."""
        for callback in self.callbacks:
            answer = getattr(callback, method)(self._context())
            check_no_answer(f"{type(callback).__name__}.{method}", answer)

    def _inform_of(self, error: BaseException) -> None:
        for callback in self.callbacks:
            try:
                callback.on_exception(self._context(), error)
            except Exception as another:
                error.add_note(f"{type(callback).__name__}.on_exception failed, too: {another!r}")

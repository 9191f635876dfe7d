"""The compiled functions of a run, which make many steps in one call, and the search for a bad step."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np

from funcnet._jit import bounded_jit
from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch, Dataset
from funcnet.train._epoch import finish
from funcnet.train._loop import advance, advance_on_batches, start, whole_run
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress
from funcnet.train._result import Run

LAST_STEP = 2**31 - 1
"""Steps are counted in int32."""

Attempt: TypeAlias = tuple[Progress, Array]
"""The progress after a chunk of steps with a deferred check, and whether it is finite."""

Advance: TypeAlias = Callable[[Progress, int, str], Attempt]
"""`(progress, until, check) -> (progress, finite)`."""


class Chunks:
    """`whole_run`; or `start`, then `advance` or `advance_on_batches` until the run ends.

    Every chunk is an attempt: the caller makes it, with int32 numbers, and passes it to `accept` or
    `accept_on_batches`, which return the progress of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.whole_run: Any = jax.jit(functools.partial(whole_run, plan))  # `Fit` bounds its programs
        self.start = bounded_jit(functools.partial(start, plan), static_argnames="has_train_data")
        self.advance = bounded_jit(functools.partial(advance, plan), static_argnames="check")
        self.advance_on_batches = bounded_jit(
            functools.partial(advance_on_batches, plan), static_argnames=("check", "short")
        )
        self.rates: dict[tuple[int, int], float] = {}
        """The latest steps per second, by (rows in a batch, batches in an epoch)."""

    def run_to_bad_step(
        self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None, epoch: int, per_epoch: int
    ) -> Run:
        """Repeat a run that was not finite in or before `epoch`, and stop at its first bad step."""
        last = min(self.plan.epochs * per_epoch, LAST_STEP)
        suspect = min(last, (epoch + 1) * per_epoch)
        advance = self._advance_function(data, valid, per_epoch)
        progress = _stop_at_bad_step(advance, self.start(model, data, key, valid), suspect)
        if progress.should_continue(self.plan.epochs):  # a sum of losses overflowed, but no step was bad
            progress = advance(progress, last, "every_step")[0]
        return finish(self.plan, progress.state)

    def accept(
        self,
        attempt: Attempt,
        before: Progress,
        data: Dataset,
        valid: Dataset | None,
        until: int,
        per_epoch: int,
    ) -> Progress:
        """The progress after a chunk of `advance`, or before its first bad step."""
        if np.asarray(attempt[1]):
            return attempt[0]
        return _stop_at_bad_step(self._advance_function(data, valid, per_epoch), before, until)

    def accept_on_batches(
        self,
        attempt: Attempt,
        before: Progress,
        batches: Batch,
        valid: Dataset | None,
        first: int,
        count: int,
        per_epoch: int,
        short: int | None,
    ) -> Progress:
        """The progress after a chunk of `advance_on_batches`, or before its first bad step."""
        if np.asarray(attempt[1]):
            return attempt[0]

        def advance(progress: Progress, until: int, check: str) -> Attempt:
            place = first + progress.step - before.step
            numbers = (np.int32(number) for number in (place, until - progress.step, per_epoch))
            return self.advance_on_batches(progress, batches, valid, *numbers, check=check, short=short)

        return _stop_at_bad_step(advance, before, before.step + count)

    def _advance_function(self, data: Dataset, valid: Dataset | None, per_epoch: int) -> Advance:
        def advance(progress: Progress, until: int, check: str) -> Attempt:
            return self.advance(progress, data, valid, np.int32(until), np.int32(per_epoch), check=check)

        return advance


def _stop_at_bad_step(advance: Advance, progress: Progress, until: int) -> Progress:
    """The progress at step `until`, or before the first bad step, if there is one.

    The bad step is found by bisection, which is possible because the result does not depend on where chunks
    end. After the last state that is known to be finite, every step is checked.

    Args:
        advance: `(progress, until, check) -> (progress, finite)`.
        progress: the progress before the chunk that is not finite.
        until: the end of that chunk.
    """
    last, first_bad = progress.step, until
    if not np.asarray(advance(progress, last, "deferred")[1]):  # the first weights are not finite
        first_bad = last
    while first_bad - last > 1:
        middle = (last + first_bad) // 2
        reached, finite = advance(progress, middle, "deferred")
        if np.asarray(finite):
            progress, last = reached, middle
        else:
            first_bad = middle
    return advance(progress, until, "every_step")[0]

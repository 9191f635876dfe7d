"""The compiled parts of a run, of which any number of steps is one call; and the search for a bad step."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np

from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch, Dataset
from funcnet.train._epoch import finish
from funcnet.train._loop import advance, advance_on_batches, start, whole_run
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress
from funcnet.train._result import Run

Attempt: TypeAlias = tuple[Progress, Array]
"""Where a chunk of steps led with a deferred check, and whether that is finite."""

Advance: TypeAlias = Callable[[Progress, int, str], Attempt]
"""`(progress, until, check) -> (progress, finite)`."""


class Chunks:
    """`whole_run`; or `start`, then `advance` or `advance_on_batches` until nothing is left, then `finish`.

    Every chunk is an attempt: the caller makes it, with numbers as int32, and gets from `accept` or
    `accept_on_batches` where the run stands.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.whole_run = jax.jit(functools.partial(whole_run, plan))
        self.start = jax.jit(functools.partial(start, plan), static_argnames="has_train_data")
        self.advance = jax.jit(functools.partial(advance, plan), static_argnames="check")
        self.advance_on_batches = jax.jit(
            functools.partial(advance_on_batches, plan), static_argnames="check"
        )
        self.finish = jax.jit(functools.partial(finish, plan))
        self.rates: dict[tuple[int, int], float] = {}
        """Steps a second, as last seen, by rows of a batch and batches of an epoch."""

    def run_to_bad_step(
        self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None, epoch: int, per_epoch: int
    ) -> Run:
        """The run again that `whole_run` found to be not finite in this epoch, from 0, or before."""
        last = self.plan.epochs * per_epoch
        suspect = min(last, (epoch + 1) * per_epoch)
        advance = self._advance_function(data, valid, per_epoch)
        progress = _stop_at_bad_step(advance, self.start(model, data, key, valid), suspect)
        if progress.should_continue(self.plan.epochs):  # a sum of losses overflowed, and no step
            progress = advance(progress, last, "every_step")[0]
        return self.finish(progress.state)

    def accept(
        self,
        attempt: Attempt,
        before: Progress,
        data: Dataset,
        valid: Dataset | None,
        until: int,
        per_epoch: int,
    ) -> Progress:
        """Where a chunk of `advance` led; with a bad step in it, the state before that step."""
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
    ) -> Progress:
        """Where a chunk of `advance_on_batches` led; with a bad step in it, the state before that step."""
        if np.asarray(attempt[1]):
            return attempt[0]

        def advance(progress: Progress, until: int, check: str) -> Attempt:
            place = first + progress.step - before.step
            numbers = (np.int32(number) for number in (place, until - progress.step, per_epoch))
            return self.advance_on_batches(progress, batches, valid, *numbers, check=check)

        return _stop_at_bad_step(advance, before, before.step + count)

    def _advance_function(self, data: Dataset, valid: Dataset | None, per_epoch: int) -> Advance:
        def advance(progress: Progress, until: int, check: str) -> Attempt:
            return self.advance(progress, data, valid, np.int32(until), np.int32(per_epoch), check=check)

        return advance


def _stop_at_bad_step(advance: Advance, progress: Progress, until: int) -> Progress:
    """Where the run stands at step `until`, or at the step at which it broke, with the weights before it.

    That step is found by bisection, since where a chunk ends changes no number. From the last finite state
    on, every step is checked.

    Args:
        advance: `(progress, until, check) -> (progress, finite)`.
        progress: the progress before the chunk that is not finite.
        until: the end of that chunk.
    """
    last, first_bad = progress.step, until
    if not np.asarray(advance(progress, last, "deferred")[1]):  # it began with infinite weights
        first_bad = last
    while first_bad - last > 1:
        middle = (last + first_bad) // 2
        reached, finite = advance(progress, middle, "deferred")
        if np.asarray(finite):
            progress, last = reached, middle
        else:
            first_bad = middle
    return advance(progress, until, "every_step")[0]

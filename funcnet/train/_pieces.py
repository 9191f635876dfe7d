"""A training in pieces: the steps of `fit`, as many as the host wants before it looks again.

Where a piece ends changes no number. Every step, wherever it stands, is the same turn of the same compiled
loop, whose bounds are values and no constants.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _mesh, _tree
from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch, Dataset
from funcnet.data._batches import epoch_rows, num_batches
from funcnet.train._fit import Fit, nothing_seen
from funcnet.train._progress import Progress
from funcnet.train._result import Run
from funcnet.train._state import TrainState
from funcnet.train._stop import Outcome
from funcnet.train._swift import is_sound, swift
from funcnet.transform._objective import Totals

LAST_STEP = 2**31 - 1

ROWS_AT_ONCE = 2**20
"""Row numbers that are computed at once: 5 MB."""


class Pieces:
    """The compiled parts of a training: `begin`, `advance` or `feed` until nothing is left, `finished`."""

    def __init__(self, train: Fit) -> None:
        self.train = train
        self.begin = jax.jit(functools.partial(_begin, train), static_argnames="fair")
        self.steps = jax.jit(functools.partial(_advance, train), static_argnames="looks")
        self.fed = jax.jit(functools.partial(_feed, train), static_argnames="looks")
        self._finished = jax.jit(train.finished)
        self._code = jax.jit(lambda: jnp.int32(Outcome.FINISHED.code))
        self.rates: dict[tuple[int, int], float] = {}
        """Steps a second, as last seen, by rows of a batch and batches of an epoch."""

    def finished(self, progress: Progress) -> Run:
        """The run that ends here. Where there is nothing to pick from, it goes through no program."""
        state = progress.state
        if self.train.stopping:
            return self._finished(state)
        if progress.running:
            state = _tree.replace(state, stop=_tree.replace(state.stop, outcome=self._code()))
        return self.train.picked(state)

    def advance(
        self,
        progress: Progress,
        data: Dataset,
        valid: Dataset | None,
        until: int,
        per_epoch: int,
        broken: bool = False,
    ) -> Callable[[], Progress]:
        """Steps and evaluations until step `until`, one of them `broken`, or until the training ends.

        They are begun, unless one is broken; what is returned waits for them, and gives where they led.
        """

        def go(progress: Progress, until: int, looks: bool) -> tuple[Progress, Array]:
            numbers = np.int32(min(until, LAST_STEP)), np.int32(per_epoch)
            return self.steps(progress, data, valid, *numbers, looks=looks)

        begun = None if broken else go(progress, until, False)
        return lambda: _sound(go, progress, until, begun)

    def feed(
        self,
        progress: Progress,
        batches: Batch,
        valid: Dataset | None,
        first: int,
        count: int,
        per_epoch: int,
    ) -> Progress:
        """A step on each of `count` batches from the first, all of one epoch; [batches, rows, ...]."""
        begun = progress.step

        def go(progress: Progress, until: int, looks: bool) -> tuple[Progress, Array]:
            step = progress.step
            numbers = (np.int32(number) for number in (first + step - begun, until - step, per_epoch))
            return self.fed(progress, batches, valid, *numbers, looks=looks)

        return _sound(go, progress, begun + count, go(progress, begun + count, False))

    def rerun(self, model: PyTree, data: Dataset, key: Key, valid: Dataset | None, epochs: int) -> Run:
        """The whole training, once it is known not to be sound after so many epochs and a part of one."""
        per_epoch = num_batches(len(data), self.train.rows_of_update(len(data)))
        last = self.train.epochs * per_epoch
        progress = self.begin(model, data, key, valid, fair=True)
        until = min(last, (epochs + 1) * per_epoch)
        progress = self.advance(progress, data, valid, until, per_epoch, broken=True)()
        if progress.goes_on(self.train.epochs):  # a sum was infinite, and no step
            progress = self.advance(progress, data, valid, last, per_epoch)()
        return self.finished(progress)


def _sound(
    go: Callable[..., tuple[Progress, Array]],
    progress: Progress,
    until: int,
    found: tuple[Progress, Array] | None,
) -> Progress:
    """What was `found` by `go(progress, until, looks)` without looks, if that is sound.

    If a step broke, with looks from that step on. Which step that is, is searched by halves: where a
    piece ends must change no number.
    """
    if found is not None and np.asarray(found[1]):
        return found[0]
    last, first_bad = progress.step, until
    if not go(progress, last, False)[1]:  # it begins with weights that are infinite, and may be meant so
        first_bad = last
    while first_bad - last > 1:
        middle = (last + first_bad) // 2
        reached, sound = go(progress, middle, False)
        if sound:
            progress, last = reached, middle
        else:
            first_bad = middle
    return go(progress, until, True)[0]


def _begin(
    train: Fit, model: PyTree, like: Dataset, key: Key, valid: Dataset | None, fair: bool
) -> Progress:
    """The beginning, for examples like these; `fair` where the training rows can be evaluated too."""
    measured = train.measured(model, like, key)
    return Progress(train.begin(model, like, key, valid, measured, fair), nothing_seen(measured))


def _advance(
    train: Fit,
    progress: Progress,
    data: Dataset,
    valid: Dataset | None,
    until: Array,
    per_epoch: Array,
    looks: bool,
) -> tuple[Progress, Array]:
    """Steps and evaluations until step `until`, or until the training ends; and whether that is sound."""
    train = train if looks else swift(train, progress.state.model, data)
    measured = train.measured(progress.state.model, data, progress.state.key)
    size = train.rows_of_update(len(data))
    block = min(num_batches(len(data), size), max(ROWS_AT_ONCE // size, 1))
    take = train.step_on(data)

    def goes_on(progress: Progress) -> Array:
        return _left(train, progress.state) & (progress.state.step < until)

    def some(progress: Progress) -> Progress:
        state = progress.state
        first = state.step - state.epoch * per_epoch
        count = jnp.minimum(jnp.minimum(block, per_epoch - first), until - state.step)
        rows = epoch_rows(len(data), train.order(state, len(data)), size, first, block)

        def one(i: Array, progress: Progress) -> Progress:
            state, seen = progress.state, _of_epoch(progress, per_epoch)
            return Progress(*take(state, seen, jax.tree.map(lambda a: a[i], rows)))

        progress = jax.lax.fori_loop(0, count, one, progress)
        return _closed(train, measured, progress, data, valid, per_epoch)

    progress = jax.lax.while_loop(goes_on, some, progress)
    return progress, _is_sound(train, measured, progress, per_epoch)


def _feed(
    train: Fit,
    progress: Progress,
    batches: Batch,
    valid: Dataset | None,
    first: Array,
    count: Array,
    per_epoch: Array,
    looks: bool,
) -> tuple[Progress, Array]:
    """A step on each of `count` batches from the first; and whether that is sound."""
    rows = Dataset(jax.tree.map(lambda a: a[0], batches.example))
    train = train if looks else swift(train, progress.state.model, rows)
    measured = train.measured(progress.state.model, rows, progress.state.key)

    def one(i: Array, progress: Progress) -> Progress:
        state, seen = progress.state, _of_epoch(progress, per_epoch)
        batch = _mesh.shard_rows(jax.tree.map(lambda a: a[i], batches))
        return Progress(*train.counted(state, seen, batch))

    progress = jax.lax.fori_loop(first, first + count, one, progress)
    progress = _closed(train, measured, progress, None, valid, per_epoch)
    return progress, _is_sound(train, measured, progress, per_epoch)


def _of_epoch(progress: Progress, per_epoch: Array) -> Array:
    """The totals to which the next step adds its own: nothing, where it is the first of its epoch."""
    first = progress.state.step == progress.state.epoch * per_epoch
    return jnp.where(first, jnp.zeros_like(progress.seen), progress.seen)


def _is_sound(train: Fit, measured: Totals, progress: Progress, per_epoch: Array) -> Array:
    loss = Totals.unpacked(measured, _of_epoch(progress, per_epoch)).sums["loss"]
    return is_sound(train, progress.state) & ((not train.looks_back) | jnp.isfinite(loss))


def _closed(
    train: Fit,
    measured: Totals,
    progress: Progress,
    data: Dataset | None,
    valid: Dataset | None,
    per_epoch: Array,
) -> Progress:
    """After the last step of an epoch: its means, and the evaluation if one is due."""
    state = progress.state
    ends = _left(train, state) & (state.step == (state.epoch + 1) * per_epoch)
    # No branch where there is nothing dear in it: XLA may then begin the next epoch beside it.
    state = train.end_of_epoch(measured, state, progress.seen, ends)
    if train.evaluates(valid):

        def parts(state: TrainState) -> tuple[Any, ...]:
            # What an evaluation changes. The weights are none of it, and must not be copied for it.
            return state.history, state.stop

        due = ends & ((state.epoch % train.eval_every == 0) | (state.epoch == train.epochs))
        evaluate = lambda: parts(train.evaluated(data, valid, state))  # noqa: E731
        history, stop = jax.lax.cond(due, evaluate, lambda: parts(state))
        state = _tree.replace(state, history=history, stop=stop)
    return Progress(state, progress.seen)


def _left(train: Fit, state: TrainState) -> Array:
    return state.stop.running() & (state.epoch < train.epochs)

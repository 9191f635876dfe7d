"""Saving and restoring by a Trainer: when a checkpoint is due, and what it contains."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from funcnet import _processes
from funcnet._types import Key, PyTree
from funcnet.train._best import Best, as_best, is_better
from funcnet.train._callbacks import Callback
from funcnet.train._checkpoint import LAST_SECONDS, Checkpoint, Checkpoints
from funcnet.train._fingerprint import fingerprint
from funcnet.train._plan import Plan
from funcnet.train._progress import Progress, metrics_at
from funcnet.train._result import evaluated_model
from funcnet.train._source import Source


class Saver:
    """The checkpoints of one call of a Trainer; without a directory it saves and restores nothing.

    Args:
        trainer: its settings, and the callbacks whose state is saved too.
        plan: the run.
    """

    def __init__(self, trainer: Any, plan: Plan) -> None:
        self.directory, self.keep, self.keep_best = trainer.directory, trainer.keep, trainer.keep_best
        self.every, self.resume, self.plan = trainer.save_every, trainer.resume, plan
        self.callbacks = _name_callbacks(trainer.callbacks)
        self.values: dict[str, np.ndarray] = {}
        """Values that callbacks requested, by name: arrays [epochs] with NaN where there is none."""
        self.best: Best | None = None
        """The best epoch by `keep_best`."""
        self.step = -1
        """The step that was saved last."""
        self._began = self._saved_at = time.monotonic()
        self._store: Checkpoints | None = None
        self._restored: Checkpoint | None = None
        self._source: Source

    @contextlib.contextmanager
    def open(self, progress: Progress, model: PyTree, source: Source, key: Key) -> Iterator[Progress]:
        """Lock the directory; yield the progress in its newest checkpoint, or `progress` without one."""
        if all(callback.read_only for callback in self.callbacks.values()):
            self.check_keep_best(progress.state.history)
        if self.directory is None:
            yield progress
            return
        identity = fingerprint(self.plan, progress, model, source, key)
        self._source = source
        with Checkpoints(self.directory, self.keep, self.keep_best, identity).open() as self._store:
            yield self._restore(self._store, progress)

    def check_keep_best(self, names: Iterable[str]) -> None:
        """Check that the history has the value of `keep_best`, after an epoch if callbacks may add it.

        Raises:
            ValueError: if it has not.
        """
        if self.keep_best is not None and self.keep_best.removeprefix("-") not in names:
            raise ValueError(
                f"keep_best must name a value in the history ({', '.join(names)}), got "
                f"{self.keep_best!r}. A callback returns its values from the first epoch on: "
                "fn.train.Request(values={...})."
            )

    def record(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record values that callbacks requested after an epoch, counted from 1."""
        for name, value in values.items():
            dtype = jax.dtypes.canonicalize_dtype(float)
            column = self.values.setdefault(name, np.full(self.plan.epochs, np.nan, dtype))
            column[epoch - 1] = value

    def _restore(self, store: Checkpoints, start: Progress) -> Progress:
        if self.resume == "never":
            with _processes.together():
                if _processes.is_first():
                    store.archive()
            return start
        with _processes.together():
            self._restored = store.newest(force=self.resume == "force")
        step = "none" if self._restored is None else str(self._restored.manifest["step"])
        advice = "All processes must see the same checkpoints."
        _processes.check_equal({"step of the newest checkpoint": step}, {"": advice})
        if self._restored is None:
            return start
        self._restored.lengthen("['state'].state.history.", self.plan.epochs)
        for name, saved in self._restored.dictionary("values").items():
            column = self.values[name] = np.full(self.plan.epochs, np.nan, saved.dtype)
            column[: len(saved)] = saved[: self.plan.epochs]
        progress: Progress = self._restored.part("state", start)
        self.step = progress.step
        self._restore_best(self._restored, progress)
        if self.resume != "force" and self._restored.has("batches"):
            like = np.zeros((0, 2), np.uint32)
            self._source.expect_batches(self._restored.part("batches", like, same_shapes=False))
        return progress

    def _restore_best(self, checkpoint: Checkpoint, progress: Progress) -> None:
        saved = checkpoint.manifest["keep_best"]
        if self.keep_best is None or progress.epoch == 0:
            return
        if saved == self.keep_best:
            if checkpoint.has("best"):
                self.best = checkpoint.part("best", as_best(progress.state.model, 0, 0.0))
        elif self.resume != "force":
            raise ValueError(
                f"keep_best must be {saved!r} as in {checkpoint.place}, got {self.keep_best!r}: the best "
                f"model of its {progress.epoch} epochs by another value is not known. In code, "
                'fn.Trainer(..., resume="force") keeps the best from here on, and resume="never" starts '
                "over."
            )

    def observe(self, progress: Progress) -> None:
        """Keep the model of the epoch that has just ended if it is the best by `keep_best`."""
        if self.keep_best is None:
            return
        value = metrics_at(progress.history, progress.epoch).get(self.keep_best.removeprefix("-"))
        if value is not None and is_better(value, self.best, self.keep_best):
            self.best = as_best(evaluated_model(progress.state), progress.epoch - 1, value)

    def restore_callbacks(self) -> None:
        """Restore the saved states of callbacks, which have started, so that their structure is known."""
        for name, callback in self.callbacks.items():
            state = callback.state()
            if self._restored is not None and state is not None and self._restored.has(name):
                callback.restore(self._restored.part(name, state, same_shapes=False))

    def content(self, progress: Progress) -> dict[str, Any]:
        """The content of a checkpoint."""
        if self._store is None:
            return {}
        states = {name: callback.state() for name, callback in self.callbacks.items()}
        states |= {"batches": self._source.batch_digests(), "best": self.best}
        states["values"] = {name: column.copy() for name, column in self.values.items()} or None
        return {"state": progress} | {name: state for name, state in states.items() if state is not None}

    def next_step(self, step: int, per_epoch: int) -> int | None:
        """The step after `step` at which to save; None if the clock decides, or nothing is saved."""
        return None if self._store is None else self.every.next_step(step, per_epoch)

    def is_due(self, before: int, now: int, per_epoch: int) -> bool:
        """Whether a checkpoint is due after the steps from `before` to `now`."""
        if self._store is None:
            return False
        if self.every.seconds is not None:
            return time.monotonic() - self._saved_at >= self.every.seconds
        return now >= (self.every.next_step(before, per_epoch) or 0)

    def save_last(self, progress: Progress, content: dict[str, Any]) -> None:
        """Write a checkpoint after an error, of which other processes may not know."""
        if self._store is not None:
            self._store.patience = LAST_SECONDS
        if self.save(progress, content):
            self.wait()

    def save(self, progress: Progress, content: dict[str, Any] | None = None) -> bool:
        """Start writing a checkpoint unless this step is already saved; return whether it was started.

        Args:
            progress: the progress to save.
            content: a value of `content`; the current one if None.
        """
        step, epoch = progress.step, progress.epoch
        if self._store is None or self.step == step:
            return False
        history = progress.history
        facts = {
            "epoch": epoch,
            "epochs": self.plan.epochs,
            "values": metrics_at(history, epoch),
            "history": {
                name: [None if math.isnan(value) else value for value in values]
                for name, values in history.items()
            },
            "outcome": progress.outcome(self.plan.epochs).name,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        content = self.content(progress) if content is None else content
        model = evaluated_model(progress.state)
        if model is not progress.state.model:  # averaged weights, so that they can be loaded alone
            content = {**content, "model": model}
        self._store.save(content, step, facts)
        self._saved_at, self.step = time.monotonic(), step
        return True

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk."""
        if self._store is not None:
            self._store.wait()


def _name_callbacks(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by their class, numbered within each class."""
    names: dict[str, Callback] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        names[f"{kind} {sum(name.startswith(kind + ' ') for name in names)}"] = callback
    return names

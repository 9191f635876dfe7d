"""What a Trainer saves and finds again: when a checkpoint is due, and all that it holds."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from funcnet._types import Key, PyTree
from funcnet.train._callbacks import Callback
from funcnet.train._checkpoint import Checkpoint, Checkpoints
from funcnet.train._fingerprint import fingerprint
from funcnet.train._progress import Progress, measured_at
from funcnet.train._source import Source


class Saver:
    """The checkpoints of one call of a Trainer; without a directory it saves and finds nothing.

    Args:
        trainer: its settings, its training, and the callbacks whose state is saved too.
    """

    def __init__(self, trainer: Any) -> None:
        self.directory, self.keep, self.best = trainer.directory, trainer.keep, trainer.keep_best
        self.every, self.resume, self.train = trainer.save_every, trainer.resume, trainer.train
        self.callbacks = _named(trainer.callbacks)
        self.step = -1
        """The step that was saved last."""
        self._began = self._saved_at = time.monotonic()
        self._store: Checkpoints | None = None
        self._found: Checkpoint | None = None

    @contextlib.contextmanager
    def open(self, progress: Progress, model: PyTree, source: Source, key: Key) -> Iterator[Progress]:
        """The directory, locked; and where its newest checkpoint stands, else `progress`, the beginning."""
        if self.best is not None and self.best.removeprefix("-") not in progress.state.history:
            names = ", ".join(progress.state.history)
            raise ValueError(f"keep_best={self.best!r} is not measured; this training measures {names}.")
        if self.directory is None:
            yield progress
            return
        identity = fingerprint(self.train, progress, model, source, key)
        with Checkpoints(self.directory, self.keep, self.best, identity).open() as self._store:
            yield self._newest(self._store, progress)

    def _newest(self, store: Checkpoints, beginning: Progress) -> Progress:
        if self.resume == "never":
            store.put_aside()
            return beginning
        self._found = store.newest(self.resume == "force")
        if self._found is None:
            return beginning
        self._found.lengthen("['state'].state.history.", self.train.epochs)
        found: Progress = self._found.part("state", beginning)
        self.step = found.step
        return found

    def remember(self) -> None:
        """Give callbacks back what they had kept. They have begun by now, so that their shape is known."""
        for name, callback in self.callbacks.items():
            kept = callback.state()
            if self._found is not None and kept is not None and self._found.holds(name):
                callback.restore(self._found.part(name, kept, same_shapes=False))

    def content(self, progress: Progress) -> dict[str, Any]:
        """All that a checkpoint holds."""
        if self._store is None:
            return {}
        kept = {name: callback.state() for name, callback in self.callbacks.items()}
        return {"state": progress} | {name: state for name, state in kept.items() if state is not None}

    def next_step(self, step: int, per_epoch: int) -> int | None:
        """The step after `step` at which to save; None where the clock decides, or nothing is saved."""
        return None if self._store is None else self.every.next_step(step, per_epoch)

    def due(self, before: int, now: int, per_epoch: int) -> bool:
        """Whether a checkpoint belongs to the steps from `before` to `now`."""
        if self._store is None:
            return False
        if self.every.seconds is not None:
            return time.monotonic() - self._saved_at >= self.every.seconds
        return now >= (self.every.next_step(before, per_epoch) or 0)

    def save(self, progress: Progress, content: dict[str, Any] | None = None) -> bool:
        """Begin to write a checkpoint, unless this step is saved; whether there is a new one.

        Args:
            progress: what it is of.
            content: as `content` gave it; that of now, when left out.
        """
        step, epoch = progress.step, progress.epoch
        if self._store is None or self.step == step:
            return False
        history = progress.history
        facts = {
            "epoch": epoch,
            "epochs": self.train.epochs,
            "values": measured_at(history, epoch),
            "history": {
                name: [None if math.isnan(value) else value for value in values]
                for name, values in history.items()
            },
            "outcome": progress.outcome(self.train.epochs).name,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        self._store.save(self.content(progress) if content is None else content, step, facts)
        self._saved_at, self.step = time.monotonic(), step
        return True

    def wait(self) -> None:
        """Until what was saved last is on the disk."""
        if self._store is not None:
            self._store.wait()


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks by their kind, and by their number among those of it."""
    names: dict[str, Callback] = {}
    for callback in callbacks:
        kind = type(callback).__name__
        names[f"{kind} {sum(name.startswith(kind + ' ') for name in names)}"] = callback
    return names

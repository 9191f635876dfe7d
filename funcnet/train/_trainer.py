"""The same training with effects around it: progress, callbacks, checkpoints, resume."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.data._dataset import take
from funcnet.train._call import Call
from funcnet.train._callbacks import AnyCallback, as_callback
from funcnet.train._dry_run import DryRun, dry_run
from funcnet.train._every import Every
from funcnet.train._fit import Fit
from funcnet.train._result import Run
from funcnet.train._source import source_of


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
        callbacks: `funcnet.train.Callback`s, or functions of a `CallbackContext`.
        progress: whether a line on the terminal shows how far it is; silent where stderr is no terminal.
        sync_every: when the training comes back to the host, an `Every`; by default four times a second, and at
            each epoch's end if a callback may ask for something.
        save_every: how often a checkpoint is written, an `Every`.
        keep: how many of the newest checkpoints stay, at least 1.
        keep_best: a name in the history, such as "val_loss": the checkpoint with its lowest value stays too.
            "-val_accuracy" for the highest.
        resume: "auto" goes on from the newest checkpoint of this same training and refuses that of another;
            "force" goes on from that too; "never" begins anew.
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
        sync_every: Every | None = None,
        save_every: Every = Every(seconds=60.0),  # noqa: B008  (frozen)
        keep: int = 3,
        keep_best: str | None = None,
        resume: Literal["auto", "force", "never"] = "auto",
        max_time: float | None = None,
        limit_batches: int | None = None,
        evaluate_first: bool = False,
    ) -> None:
        if not isinstance(train, Fit):
            raise TypeError(
                f"a Trainer takes what fn.fit made; got {_check.describe(train)}. Try "
                "fn.Trainer(fn.fit(loss, optax.adam(1e-3), epochs=10))."
            )
        if directory is not None and not isinstance(directory, str | os.PathLike):
            raise TypeError(
                f"directory is a path, or None to save nothing; got {_check.describe(directory)}. Try "
                "fn.Trainer(train, 'runs/first')."
            )
        for name, value in {"sync_every": sync_every, "save_every": save_every}.items():
            if not (isinstance(value, Every) or (name == "sync_every" and value is None)):
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
        if keep_best is not None and not (isinstance(keep_best, str) and keep_best.strip("-")):
            raise TypeError(
                f"keep_best must be a name in the history, such as 'val_loss', got {keep_best!r}."
            )
        _check.choice("resume", resume, ("auto", "force", "never"))
        if max_time is not None and (isinstance(max_time, bool | str) or not max_time > 0):
            raise ValueError(f"max_time is a number of seconds above 0; got {max_time!r}.")
        if limit_batches is not None:
            _check.positive("limit_batches", limit_batches)
        self.train = train
        self.directory = None if directory is None else Path(directory)
        self.callbacks = [as_callback(callback) for callback in callbacks]
        self.progress, self.sync_every, self.save_every = progress, sync_every, save_every
        self.keep, self.keep_best, self.resume = keep, keep_best, resume
        self.max_time, self.limit_batches = max_time, limit_batches
        self.evaluate_first = evaluate_first

    def __call__(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> Run:
        """Train, or go on training: the arguments and the result of `train`.

        Raises:
            SystemExit: with 143 after SIGTERM and 130 after Ctrl-C, once a checkpoint is written. A second
                Ctrl-C ends it at once.
        """
        source = source_of(self, model, data, key, valid)
        return Call(self, source, model, key).run()

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

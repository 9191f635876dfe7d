"""`Trainer`: run a training function with a progress bar, callbacks, checkpoints and resuming."""

import dataclasses
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from funcnet import _check, _mesh
from funcnet._module import restore
from funcnet._types import Key, PyTree
from funcnet.data._dataset import take
from funcnet.train._callbacks import AnyCallback, as_callback
from funcnet.train._dry_run import DryRun, dry_run
from funcnet.train._every import Every
from funcnet.train._fit import Fit, as_model
from funcnet.train._result import Run
from funcnet.train._session import Session
from funcnet.train._source import open_source


@_check.usage('run = fn.Trainer(train, "runs/a")(model, data, key)')
class Trainer:
    """Train like `train`, with progress, callbacks and checkpoints.

    Call it exactly like `train`; the result is the same. The run is executed in chunks of many steps, all
    by one program; between chunks, Python updates the progress bar, runs callbacks and writes checkpoints.
    The result does not depend on where chunks end, and callbacks change only what they request.

    With `directory`, calling the same Trainer again resumes from the newest valid checkpoint, mid-epoch if
    necessary, and gives the same bits as an uninterrupted run. Checkpoints are written at intervals, at the
    end, and after an exception, SIGTERM or Ctrl-C. After SIGTERM the process exits with code 143, and after
    Ctrl-C with code 130.

    Args:
        train: a training function, returned by `fn.fit`.
        directory: where checkpoints are written; None to write none.
        callbacks: `funcnet.train.Callback`s, or functions of a `CallbackContext`.
        progress: "bar" (or True) shows a line that is redrawn on a terminal and in a notebook, and nothing
            elsewhere; "lines" prints a line on stderr when an epoch ends, at most every five seconds, for
            logs; False shows nothing.
        sync_every: when the run returns to the host, an `Every`; by default four times a second, and at the
            end of each epoch if a callback may request something.
        save_every: how often a checkpoint is written, an `Every`.
        keep: the number of newest checkpoints to keep, at least 1.
        keep_best: a name in the history, such as "val_loss": `run.best` is the model of the epoch with its
            lowest value, and checkpoints hold it; the checkpoint with the lowest value is kept, too. With
            a leading "-", as in "-val_accuracy", the highest value is the best. The run then returns to
            the host at the end of every epoch.
        resume: "auto" resumes from the newest checkpoint, and raises an error if that belongs to a
            different run; "force" resumes from it anyway; "never" starts over.
        max_time: seconds after which the run is interrupted at the next sync, to be resumed later.
        limit_batches: the number of batches of each epoch to use, the first in its order; all if None.
        evaluate_first: whether to evaluate the validation rows before the first step. Callbacks get the
            values in `on_fit_start`, and errors in the evaluation are raised early.

    Raises:
        TypeError: if `train` was not returned by `fn.fit`, or a callback or a setting has the wrong type.
        ValueError: if a setting is out of range; in the call, if the directory holds a different run.
        OSError: in the call, if the directory can't be written or another process trains in it.

    Example:
        >>> import tempfile, jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> data = (x, jnp.sin(3 * x[:, 0]))
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=20)
        >>> model = fn.MLP((1, 16, "scalar")).init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = fn.Trainer(train, folder)(model, data, jax.random.key(1))
        ...     again = fn.Trainer(train, folder)(model, data, jax.random.key(1))  # restored
        >>> bool((again.history["loss"] == run.history["loss"]).all()), int(again.state.step)
        (True, 40)
    """

    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("Trainer")

    def __init__(
        self,
        train: Fit,
        directory: str | os.PathLike[str] | None = None,
        callbacks: Iterable[AnyCallback] = (),
        *,
        progress: Literal["bar", "lines"] | bool = "bar",
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
                f"train must be a function returned by fn.fit, got {_check.describe(train)}. Try "
                "fn.Trainer(fn.fit(loss, optax.adam(1e-3), epochs=10))."
            )
        for name, value in {"sync_every": sync_every, "save_every": save_every}.items():
            if not (isinstance(value, Every) or (name == "sync_every" and value is None)):
                raise TypeError(
                    f"{name} must be a funcnet.train.Every, got {_check.describe(value)}. Try "
                    f"{name}=fn.train.Every(epochs=1)."
                )
        is_name = isinstance(progress, str) and progress in ("bar", "lines")
        if not (is_name or isinstance(progress, bool | np.bool_)):
            raise ValueError(
                f"progress must be 'bar', 'lines' or False, got {_check.describe(progress)}. Try "
                "progress=False, which shows nothing."
            )
        _check.boolean("evaluate_first", evaluate_first)
        keep = _check.positive("keep", keep)
        if callable(callbacks) or hasattr(callbacks, "dtype") or not isinstance(callbacks, Iterable):
            raise TypeError(
                f"callbacks must be a list, got {_check.describe(callbacks)}. Try callbacks=[callback]."
            )
        if keep_best is not None and not (isinstance(keep_best, str) and keep_best.strip("-")):
            raise TypeError(
                "keep_best must be a name in the history, such as 'val_loss', got "
                f"{_check.describe(keep_best)}."
            )
        if keep_best is not None:
            _check.keep_best_direction(keep_best)
        _check.choice("resume", resume, ("auto", "force", "never"))
        if max_time is not None:
            max_time = _check.above_zero("max_time", max_time)
        if limit_batches is not None:
            limit_batches = _check.positive("limit_batches", limit_batches)
        self.train = train
        self.directory = None if directory is None else _check.path("directory", directory, "runs/first")
        self.callbacks = [as_callback(callback) for callback in callbacks]
        self.progress = progress if isinstance(progress, str) else ("bar" if progress else False)
        self.sync_every, self.save_every = sync_every, save_every
        self.keep, self.keep_best, self.resume = keep, keep_best, resume
        self.max_time, self.limit_batches = max_time, limit_batches
        self.evaluate_first = evaluate_first

    @_check.usage("run = trainer(model, (x, y), jax.random.key(0))")
    def __call__(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> Run:
        """Train, or resume. The arguments and the result are those of `train`.

        Raises:
            SystemExit: with 143 after SIGTERM or 130 after Ctrl-C, once a checkpoint is written. A second
                Ctrl-C exits immediately.
        """
        passed, model = model, as_model(model, data)
        source = open_source(self.train, self.limit_batches, model, data, key, valid)
        with _mesh.sharded_like(model):
            run = Session(self, source, model, key).run()
        return run if model is passed else dataclasses.replace(run, model=restore(run.model))

    def overfit_one_batch(self, model: PyTree, data: PyTree, key: Key, steps: int = 500) -> Run:
        """Train on one batch, the first rows, as a sanity check: its loss should approach the minimum.

        Args:
            model, data, key: as in the call.
            steps: updates, at least 1.

        Returns:
            A Run; nothing is written, and no callback is called.
        """
        steps = _check.positive("steps", steps)
        source = open_source(self.train, self.limit_batches, as_model(model, data), data, key, None)
        rows = take(source.sample, np.arange(min(self.train.batch_size, len(source.sample))))
        train = dataclasses.replace(
            self.train, epochs=steps, eval_every=steps, shuffle=False, stopping=None
        )
        return train(model, rows, key)

    def dry_run(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> DryRun:
        """Report shapes, parameters, bytes and FLOPs of a run, and make one step to check that it works.

        Args:
            model, data, key, valid: as in the call.

        Returns:
            A `DryRun`; print it. Nothing is written, and no callback is called.
        """
        model = as_model(model, data)
        return dry_run(open_source(self.train, self.limit_batches, model, data, key, valid), model, key)

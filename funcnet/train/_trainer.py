"""`Trainer`: run a training function with a progress bar, callbacks, checkpoints and resuming."""

import dataclasses
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from funcnet import _check, _shard
from funcnet._module import restore
from funcnet._types import Key, PyTree
from funcnet.data import Dataset
from funcnet.data._dataset import take
from funcnet.train._blocks import BlockStudy
from funcnet.train._callbacks import AnyCallback, as_callback, check_hooks
from funcnet.train._dry_run import DryRun, dry_run
from funcnet.train._every import Every
from funcnet.train._fit import Fit, as_model
from funcnet.train._result import Run
from funcnet.train._session import Session
from funcnet.train._source import open_source
from funcnet.train._study_session import StudySession


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

    A study of many runs, such as `fn.study.ensemble(train, 1000)`, is run block by block: call the Trainer
    exactly like the study. Each block of finished members is kept in `directory`, and the same call trains
    the others. Of the settings, `directory`, `callbacks`, `progress`, `resume` and `max_time` apply.
    Callbacks get a `StudyContext` after each block.

    Args:
        train: a training function, returned by `fn.fit`; or a study of many runs.
        directory: where checkpoints are written; None to write none. Of several processes, process 0 writes
            there, and all must see it.
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
        TypeError: if `train` was not returned by `fn.fit` and is not a study of many runs, or a callback
            or a setting has the wrong type or is not one of a study.
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
                "fn.Trainer(fn.fit(loss, optax.adam(1e-3), epochs=10)), or a study of many runs, "
                "fn.Trainer(fn.study.ensemble(train, 10))."
            )
        self._set_of_any(directory, callbacks, progress, resume, max_time)
        for callback in self.callbacks:
            check_hooks(callback, of_study=False)
        for name, value in {"sync_every": sync_every, "save_every": save_every}.items():
            if not (isinstance(value, Every) or (name == "sync_every" and value is None)):
                raise TypeError(
                    f"{name} must be a funcnet.train.Every, got {_check.describe(value)}. Try "
                    f"{name}=fn.train.Every(epochs=1)."
                )
        _check.boolean("evaluate_first", evaluate_first)
        keep = _check.positive("keep", keep)
        if keep_best is not None and not (isinstance(keep_best, str) and keep_best.strip("-")):
            raise TypeError(
                "keep_best must be a name in the history, such as 'val_loss', got "
                f"{_check.describe(keep_best)}."
            )
        if keep_best is not None:
            _check.keep_best_direction(keep_best)
        if limit_batches is not None:
            limit_batches = _check.positive("limit_batches", limit_batches)
        self.train = train
        self.sync_every, self.save_every = sync_every, save_every
        self.keep, self.keep_best, self.limit_batches = keep, keep_best, limit_batches
        self.evaluate_first = evaluate_first

    def __new__(cls, train: Any = None, *_: Any, **__: Any) -> "Trainer":
        is_study = cls is Trainer and isinstance(train, BlockStudy)
        return object.__new__(StudyTrainer if is_study else cls)

    # `inspect.signature(Trainer)` is that of `__init__`.
    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]

    def _set_of_any(
        self, directory: Any, callbacks: Any, progress: Any, resume: Any, max_time: Any
    ) -> None:
        """Check and set what a Trainer of a run and one of a study have in common."""
        is_name = isinstance(progress, str) and progress in ("bar", "lines")
        if not (is_name or isinstance(progress, bool | np.bool_)):
            raise ValueError(
                f"progress must be 'bar', 'lines' or False, got {_check.describe(progress)}. Try "
                "progress=False, which shows nothing."
            )
        if callable(callbacks) or hasattr(callbacks, "dtype") or not isinstance(callbacks, Iterable):
            raise TypeError(
                f"callbacks must be a list, got {_check.describe(callbacks)}. Try callbacks=[callback]."
            )
        _check.choice("resume", resume, ("auto", "force", "never"))
        self.max_time = None if max_time is None else _check.above_zero("max_time", max_time)
        self.directory = None if directory is None else _check.path("directory", directory, "runs/first")
        self.callbacks = [as_callback(callback) for callback in callbacks]
        self.progress = progress if isinstance(progress, str) else ("bar" if progress else False)
        self.resume = resume

    @_check.usage("run = trainer(model, (x, y), jax.random.key(0))")
    def __call__(self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None) -> Run:
        """Train, or resume. The arguments and the result are those of `train`.

        Raises:
            SystemExit: with 143 after SIGTERM or 130 after Ctrl-C, once a checkpoint is written. A second
                Ctrl-C exits immediately.
        """
        passed, model = model, as_model(model, data)
        source = open_source(self.train, self.limit_batches, model, data, key, valid)
        with _shard.sharded_like(model):
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
        size = self.train.batch_size
        like = source.like if isinstance(source.data, Dataset) else source.data.first(size)
        rows = take(like, np.arange(min(size, len(like))))
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


class StudyTrainer(Trainer):
    """The Trainer of a study. Call it like the study; the result is the same."""

    train: Any

    def __init__(
        self,
        train: BlockStudy,
        directory: str | os.PathLike[str] | None = None,
        callbacks: Iterable[AnyCallback] = (),
        *,
        progress: Literal["bar", "lines"] | bool = "bar",
        resume: Literal["auto", "force", "never"] = "auto",
        max_time: float | None = None,
        **of_runs: Any,
    ) -> None:
        if of_runs:
            raise TypeError(
                f"{next(iter(of_runs))} is not a setting of the Trainer of a study, which has directory, "
                'callbacks, progress, resume and max_time. Write fn.Trainer(study, "runs/a").'
            )
        self._set_of_any(directory, callbacks, progress, resume, max_time)
        for callback in self.callbacks:
            check_hooks(callback, of_study=True)
        if max_time is not None and directory is None:
            raise ValueError(
                "max_time of a study needs a directory, which keeps the members done by then. Try "
                f'fn.Trainer(study, "runs/a", max_time={max_time}).'
            )
        self.train = train

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the study, or resume. The arguments and the result are those of the study.

        Raises:
            SystemExit: with 143 after SIGTERM or 130 after Ctrl-C, once the members done are kept. A second
                Ctrl-C exits immediately.
            IncompleteStudyError: after `max_time`, or if a callback requests to stop.
        """
        return StudySession(self).run(args, kwargs)

    def overfit_one_batch(self, *_: Any, **__: Any) -> Any:
        """Not of a study."""
        raise TypeError(_OF_RUNS.format("overfit_one_batch(model, data, key)"))

    def dry_run(self, *_: Any, **__: Any) -> Any:
        """Not of a study."""
        raise TypeError(_OF_RUNS.format("dry_run(model, data, key)"))


_OF_RUNS = (
    "the Trainer of a study has no such method: call that of its training function, fn.Trainer(train).{}."
)

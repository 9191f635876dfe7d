"""Callbacks: what they can read of a run, and what they can request."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from funcnet import _check, _files
from funcnet._types import Loss, PyTree
from funcnet.data import Dataset
from funcnet.data._batches import PaddedBatch
from funcnet.train._early_stopping import EarlyStopping
from funcnet.train._progress import Progress
from funcnet.train._request import Request
from funcnet.train._result import evaluated_model
from funcnet.train._state import TrainState


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What funcnet's own callbacks may read of a run beyond the public context.

    Args:
        progress: the Trainer's own progress, which must not be modified.
        epochs: epochs of the whole run.
        steps_per_epoch: batches in an epoch.
        directory: the Trainer's directory, or None.
        loss: the loss of one example.
        sample: returns the first rows of the training data, at most 1024.
        batches: returns the batches of another epoch of the training data.
        callbacks: all callbacks of the run.
        is_latest: whether the state is that of the context's epoch, and not of a later one.
        history: in `on_sync`, the history: lists of floats by name, NaN for missing values.
        reported_epoch: in `on_sync`, the number of epochs that were completed at the previous sync.
    """

    progress: Progress
    epochs: int
    steps_per_epoch: int
    directory: Path | None
    loss: Loss
    sample: Callable[[], Dataset]
    batches: Callable[[], Iterator[PaddedBatch]]
    callbacks: "Sequence[Callback]"
    is_latest: bool = True
    history: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)
    reported_epoch: int = 0


@dataclasses.dataclass(frozen=True)
class CallbackContext:
    """The progress of a run, as a callback sees it.

    It can't be changed: a callback returns what it asks for, a `Request`.

    Args:
        epoch: the number of completed epochs.
        metrics: the losses and metrics of the last completed epoch: floats by name. Values that were not
            measured in that epoch, or are NaN, are absent.

    Attributes:
        step: the number of optimizer steps.
        state: the `TrainState` at this sync, with the optimizer's state and the key.
        model: the model as it is evaluated.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=4)
        >>> model, lines = fn.models.LinearRegression(1).init(jax.random.key(0)), []
        >>> log = lambda context: lines.append((context.epoch, context.step, sorted(context.metrics)))
        >>> run = fn.Trainer(train, callbacks=[log])(model, (x, x[:, 0]), jax.random.key(1))
        >>> lines
        [(1, 2, ['loss']), (2, 4, ['loss'])]
    """

    epoch: int
    metrics: Mapping[str, float]
    _snapshot: Snapshot
    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("CallbackContext")

    @property
    def step(self) -> int:
        """The number of optimizer steps."""
        return self._snapshot.progress.step

    @property
    def state(self) -> TrainState:
        """The training state at this sync, in new containers: modifying them does not affect the run."""
        return self._snapshot.progress.copied_state

    @property
    def model(self) -> PyTree:
        """The model as it is evaluated: with averaged weights, if the run averages them."""
        return evaluated_model(self.state)


@dataclasses.dataclass(frozen=True)
class StudyContext:
    """The progress of a study, as a callback sees it.

    Args:
        done: the number of members that are done.
        total: the number of all members.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=2)
        >>> study, lines = fn.study.ensemble(train, 5, block=2), []
        >>> log = lambda context: lines.append((context.done, context.total))
        >>> trainer = fn.Trainer(study, callbacks=[log])
        >>> result = trainer(fn.models.LinearRegression(1), (x, x[:, 0]), jax.random.key(0))
        >>> lines
        [(2, 5), (4, 5), (5, 5)]
    """

    done: int
    total: int


def _raise_frozen(self: CallbackContext, name: str, value: Any) -> None:
    del self, value
    raise dataclasses.FrozenInstanceError(
        f"a CallbackContext can't be changed, got a new {name!r}. Return a request from the callback: "
        "fn.train.Request(stop=True), with hyperparams={...} or values={...}."
    )


CallbackContext.__setattr__ = _raise_frozen  # type: ignore[assignment]


class Callback:
    """Base class of callbacks, which observe a run on the host and may send requests.

    Override the methods you need. Each gets a `CallbackContext`; `on_fit_start` and `on_epoch_end` may
    return a `Request`. A callback that is used for several runs must reset itself in `on_fit_start`. A
    function `context -> Request | None` is a callback, too; it is called at the end of each epoch.

    The Trainer of a study calls `on_block_end` in place of `on_epoch_end` and `on_sync`, and all methods
    get a `StudyContext`; requests may stop it or save. It saves no state of callbacks.

    A callback with `read_only = True` sends no requests. Any number of epochs may pass between two syncs
    with the host; such a callback is then called for each of them in turn, with the state after the last.
    If any callback may send requests, the run returns to the host at the end of every epoch.

    Raises:
        TypeError: when a subclass is defined, if it has or inherits an `on_...` that is not one of these
            methods, or that can't be called with a `CallbackContext`.

    Example:
        >>> import funcnet as fn
        >>> class StopBelowATenth(fn.train.Callback):
        ...     def on_epoch_end(self, context):
        ...         return fn.train.Request(stop=context.metrics["loss"] < 0.1)
    """

    read_only: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for owner in cls.__mro__:
            for name in vars(owner) if owner is not Callback else ():
                if name.startswith("on_"):
                    _check_hook(cls, owner, name)

    def on_fit_start(self, context: CallbackContext) -> Request | None:
        """Before the first step of this process. `restore` is called after it, if the run was resumed."""

    def on_epoch_end(self, context: CallbackContext) -> Request | None:
        """After an epoch and its evaluation."""

    def on_block_end(self, context: StudyContext) -> Request | None:
        """After a block of the members of a study."""

    def on_sync(self, context: CallbackContext) -> None:
        """After a sync with the host, if epochs have ended since the previous one; once for all of them."""

    def on_checkpoint(self, context: CallbackContext) -> None:
        """After the saving of a checkpoint has started."""

    def on_exception(self, context: CallbackContext, error: BaseException) -> None:
        """After an exception; the context shows the state before it."""

    def on_fit_end(self, context: CallbackContext) -> None:
        """After the last step of this process: finished, stopped or interrupted."""

    def state(self) -> PyTree:
        """The state that a checkpoint saves for this callback: a pytree of arrays and numbers, or None."""

    def restore(self, state: PyTree) -> None:
        """Restore a state that `state` returned."""


OF_PEERS = {
    **dict.fromkeys(("on_train_start", "on_train_begin", "on_fit_begin"), "on_fit_start"),
    **dict.fromkeys(("on_train_end", "on_test_end", "on_predict_end"), "on_fit_end"),
    **dict.fromkeys(("on_train_epoch_end", "on_validation_end", "on_validation_epoch_end"), "on_epoch_end"),
    **dict.fromkeys(("on_epoch_begin", "on_epoch_start", "on_train_epoch_start"), "on_epoch_end"),
    **dict.fromkeys(("on_save_checkpoint", "on_save"), "on_checkpoint"),
}
"""Hooks of Keras and Lightning, and ours at the same moment; an epoch starts where the one before ends."""
NO_BATCHES = (
    "An epoch is one program, without hooks for batches: return metrics from the loss, or write the loop, "
    "for batch in fn.data.batches(data, 32, key, epoch): state, info = step(state, batch)."
)


def _check_hook(cls: type, owner: type, name: str) -> None:
    """Check that `on_...` of a callback, or of a class that it inherits from, is a hook that is called."""
    own = vars(Callback).get(name)
    title = f"{owner.__name__}.{name}"
    if own is None:
        hooks = [hook for hook in vars(Callback) if hook.startswith("on_")]
        nearest = difflib.get_close_matches(name, hooks, 1, 0.0)[0]
        raise TypeError(
            f"{title} would never be called: the hooks are {', '.join(hooks)}. "
            + (
                NO_BATCHES
                if "batch" in name
                else f"Write def {OF_PEERS.get(name, nearest)}(self, context)."
            )
        )
    if getattr(cls, name) is own:
        raise TypeError(
            f"{title} would never be called, since {cls.__name__} inherits from Callback first. Write "
            f"class {cls.__name__}({owner.__name__}, fn.train.Callback)."
        )
    parameters = list(inspect.signature(own).parameters)
    hook = getattr(owner, name)
    if not callable(hook):
        raise TypeError(
            f"{title} must be a method, got {_check.describe(hook)}. Write "
            f"def {name}({', '.join(parameters)}), or leave it out."
        )
    is_bound = isinstance(vars(owner)[name], classmethod | staticmethod)
    try:
        signature = inspect.signature(hook)
        signature.bind(*parameters[is_bound:])
        takes_logs = "logs" in signature.parameters
    except TypeError:
        takes_logs = True
    if takes_logs:
        raise TypeError(
            f"{title} must take {', '.join(parameters)}. Write def {name}({', '.join(parameters)}); "
            "its losses and metrics are context.metrics."
        )


def resolve_path(path: Path, context: CallbackContext) -> Path:
    """The path to write to; a relative one is in the Trainer's directory. Creates the parent folder."""
    directory = context._snapshot.directory
    path = path if directory is None else directory / path
    _files.make_folder(path.parent)
    return path


AnyCallback: TypeAlias = Callback | Callable[[Any], Request | None]


class _Function(Callback):
    def __init__(self, function: Callable[[Any], Request | None]) -> None:
        self.function = function

    def on_epoch_end(self, context: CallbackContext) -> Request | None:
        return self.function(context)

    def on_block_end(self, context: StudyContext) -> Request | None:
        return self.function(context)


def as_callback(value: Any) -> Callback:
    """`value` if it is a callback; else a callback that calls it at the end of each epoch."""
    if isinstance(value, Callback):
        return value
    if isinstance(value, EarlyStopping):
        raise TypeError(
            "early stopping is a part of the training function, not a callback. Write fn.fit(loss, "
            "optax.adam(1e-3), epochs=20, stopping=fn.EarlyStopping(patience=5))."
        )
    expected = "a funcnet.train.Callback or a function of a CallbackContext"
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"each of callbacks must be {expected}, got {_check.describe(value)}. Try "
            "callbacks=[fn.train.CSV('history.csv')]."
        )
    _check.takes("each of callbacks", value, expected, None)
    return _Function(value)


def check_hooks(callback: Callback, *, of_study: bool) -> None:
    """Check that the methods of a callback are called: those of a run, or those of a study."""
    kind = type(callback)
    of_runs, of_studies = ("on_epoch_end", "on_sync", "state"), ("on_block_end",)
    own, other = (of_studies, of_runs) if of_study else (of_runs, of_studies)
    names = [name for name in own + other if getattr(kind, name) is not getattr(Callback, name)]
    if names and not set(names) & set(own):
        what, code = (
            ("a study", "on_block_end(self, context), where context.done of context.total members are done")
            if of_study
            else ("a run", "on_epoch_end(self, context)")
        )
        raise TypeError(
            f"{kind.__name__}.{names[0]} would never be called: this is the Trainer of {what}. Write "
            f"def {code}."
        )

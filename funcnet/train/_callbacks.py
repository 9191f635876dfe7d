"""What a `Trainer` tells while it trains, and what it can be asked for."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from funcnet import _check, _tree
from funcnet._types import Array, Loss, PyTree
from funcnet.data import Dataset
from funcnet.train._progress import Progress
from funcnet.train._result import current_model
from funcnet.train._state import TrainState


@dataclasses.dataclass(frozen=True)
class Request:
    """What a callback may ask for; a Trainer does it before the next step.

    Args:
        stop: end the training after this visit.
        save: write a checkpoint now.
        hyperparams: new values, by name, of what `optax.inject_hyperparams` put into the optimizer.

    Example:
        >>> import funcnet as fn
        >>> fn.train.Request(hyperparams={"learning_rate": 1e-4}).stop
        False
    """

    stop: bool = False
    save: bool = False
    hyperparams: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("stop", "save"):
            if not isinstance(wish := getattr(self, name), bool | np.bool_ | jax.Array):
                raise TypeError(f"{name} is True or False; got {wish!r}.")
        if not isinstance(self.hyperparams, Mapping):
            raise TypeError(f"hyperparams maps names to numbers; got {self.hyperparams!r}.")


@dataclasses.dataclass(frozen=True)
class CallbackContext:
    """Where a training stands, to be looked at.

    `state` is the training state, as it is at this visit.

    Args:
        progress: what the Trainer itself holds: to be read only. `state` is a copy of its containers.
        epoch: epochs finished that this call is about.
        values: what was measured in the last of them, by name: floats, without those not measured.
        epochs: epochs in the whole training.
        steps_per_epoch: batches in an epoch.
        seconds: since the call of the Trainer.
        directory: the Trainer's; None without one.
        loss: of one example.
        source: where the batches come from.
        newest: whether `state` is that of this epoch, and not of a later one.
        history: in `on_sync`, all that was measured, by name: lists of floats, NaN where nothing was.
        told: in `on_sync`, epochs that were finished at the visit before.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=2, batch_size=4)
        >>> model, seen = fn.models.LinearRegression(1).init(jax.random.key(0)), []
        >>> look = lambda view: seen.append((view.epoch, view.step, sorted(view.values)))
        >>> run = fn.Trainer(train, callbacks=[look])(model, (x, x[:, 0]), jax.random.key(1))
        >>> seen
        [(1, 2, ['loss']), (2, 4, ['loss'])]
    """

    progress: Progress
    epoch: int
    values: Mapping[str, float]
    epochs: int
    steps_per_epoch: int
    seconds: float
    directory: Path | None
    loss: Loss
    source: Any
    newest: bool = True
    history: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)
    told: int = 0

    @property
    def state(self) -> TrainState:
        """The training state, in containers of its own: whoever writes into them changes no training."""
        return self.progress.shown

    @property
    def sample(self) -> Dataset:
        """The first rows of what is trained on, at most 1024."""
        return self.source.sample

    @property
    def step(self) -> int:
        """Batches seen."""
        return self.progress.step

    @property
    def model(self) -> PyTree:
        """The model as it is evaluated: averaged where the training averages."""
        return current_model(self.state)

    @property
    def hyperparams(self) -> dict[str, Array]:
        """What `optax.inject_hyperparams` put into the optimizer, by name; empty without it."""
        return {
            name: v for state in injected(self.state.opt_state) for name, v in state.hyperparams.items()
        }


class Callback:
    """Something that watches a training on the host, and may ask for something.

    Overwrite what you need. Each moment gets a `CallbackContext`; `on_fit_start` and `on_epoch_end` may return a
    `Request`. If one callback serves several trainings, `on_fit_start` is where it begins anew. A function
    `view -> Request | None` serves as a callback too: it is called at the end of each epoch.

    A callback whose `read_only` is True asks for nothing. Between two visits to the host any number of
    epochs may pass, and it is then told of each in turn, with the state of the last. If any callback may
    ask, the training comes back to the host at the end of every epoch.

    Example:
        >>> import funcnet as fn
        >>> class StopAtTenPercent(fn.train.Callback):
        ...     def on_epoch_end(self, view):
        ...         return fn.train.Request(stop=view.values["loss"] < 0.1)
    """

    read_only: bool = False

    def on_fit_start(self, view: CallbackContext) -> Request | None:
        """Before the first step of this process, after a checkpoint was found."""

    def on_epoch_end(self, view: CallbackContext) -> Request | None:
        """After an epoch and its evaluation."""

    def on_sync(self, view: CallbackContext) -> None:
        """After a visit in which epochs ended, all together: cheap where epochs take microseconds."""

    def on_checkpoint(self, view: CallbackContext) -> None:
        """When the state at this visit has been handed over to be saved."""

    def on_exception(self, view: CallbackContext, error: BaseException) -> None:
        """When something was raised; the view shows the state before it."""

    def on_fit_end(self, view: CallbackContext) -> None:
        """After the last step of this process: finished, stopped or interrupted."""

    def state(self) -> PyTree:
        """What a checkpoint has to keep of this callback: a pytree of arrays and numbers, or None."""

    def restore(self, state: PyTree) -> None:
        """Take up what `state` gave."""


def place_of(path: Path, view: CallbackContext) -> Path:
    """Where a callback writes a file: a relative path lies in the Trainer's directory. Makes the folder."""
    place = path if view.directory is None else view.directory / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


AnyCallback: TypeAlias = Callback | Callable[[CallbackContext], Request | None]


class _Function(Callback):
    def __init__(self, function: Callable[[CallbackContext], Request | None]) -> None:
        self.function = function

    def on_epoch_end(self, view: CallbackContext) -> Request | None:
        return self.function(view)


def as_callback(value: Any) -> Callback:
    """`value`, if it is a callback, or one that calls this function at the end of each epoch."""
    if isinstance(value, Callback):
        return value
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            "a callback is a funcnet.train.Callback or a function of a CallbackContext; got "
            f"{_check.describe(value)}. Try callbacks=[fn.train.CSV('history.csv')]."
        )
    return _Function(value)


NOTHING = Request()


def joined(wish: Request, callback: Callback, answer: Any) -> Request:
    """A request, and what a callback answered to a moment."""
    if callback.read_only:
        raise TypeError(
            f"{type(callback).__name__} has read_only=True and asked for something. Set read_only=False: "
            "then the training comes back to the host at the end of every epoch."
        )
    if not isinstance(answer, Request):
        raise TypeError(
            f"a callback returns None or a funcnet.train.Request; got {_check.describe(answer)}. Try "
            "fn.train.Request(stop=True)."
        )
    values = {**wish.hyperparams, **answer.hyperparams}
    return Request(bool(wish.stop or answer.stop), bool(wish.save or answer.save), values)


def set_hyperparams(state: TrainState, values: Mapping[str, Any]) -> TrainState:
    """The state with other values in the optimizer, of the dtype and shape that they had."""
    known = {name for part in injected(state.opt_state) for name in part.hyperparams}
    if missing := sorted(set(values) - known):
        raise ValueError(
            f"no hyper-parameter {missing[0]!r} in this optimizer's state; it holds "
            f"{', '.join(sorted(known)) or 'none'}. Make it one that can be set: "
            f"optax.inject_hyperparams(optax.adam)({missing[0]}=1e-3)."
        )

    def changed(part: Any) -> Any:
        if not _is_injected(part):
            return part
        new = {
            name: old
            if name not in values
            else np.broadcast_to(_number(name, values[name], old), old.shape)
            for name, old in part.hyperparams.items()
        }
        return part._replace(hyperparams=jax.tree.map(jax.numpy.asarray, new))

    opt_state = jax.tree.map(changed, state.opt_state, is_leaf=_is_injected)
    return _tree.replace(state, opt_state=opt_state)


def _number(name: str, value: Any, old: Any) -> np.ndarray:
    try:
        number = np.asarray(value, float)
    except (TypeError, ValueError):
        number = np.array(np.nan)
    if not np.isfinite(number).all():
        raise ValueError(f"hyper-parameter {name!r} can't be set to {value!r}: a finite number is wanted.")
    return number.astype(old.dtype)


def injected(opt_state: PyTree) -> list[Any]:
    """The parts of an optimizer's state that hold hyper-parameters."""
    return [part for part in jax.tree.leaves(opt_state, is_leaf=_is_injected) if _is_injected(part)]


def _is_injected(part: Any) -> bool:
    return hasattr(part, "hyperparams") and hasattr(part, "_replace")

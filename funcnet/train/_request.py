"""What callbacks request of a Trainer: joined, agreed on between processes, and applied."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from funcnet import _check, _processes, _tree
from funcnet.train._early_stopping import Outcome
from funcnet.train._hyperparams import set_hyperparams
from funcnet.train._state import TrainState


@dataclasses.dataclass(frozen=True)
class Request:
    """What a callback asks a Trainer to do before the next step.

    Args:
        stop: end the run.
        save: write a checkpoint.
        hyperparams: new values for hyperparameters that `optax.inject_hyperparams` made part of the
            optimizer's state: by name, or, if several have the same name, by their path in it, such as
            "inner_states['a'].inner_state.hyperparams['learning_rate']".
        values: numbers by name that become part of the history, in the epoch that has just ended; NaN in
            epochs without them. Logs write them, `keep_best` can monitor them, and checkpoints keep them.

    Raises:
        TypeError: if a field has the wrong type.

    Example:
        >>> import funcnet as fn
        >>> fn.train.Request(values={"fid": 31.5}).values["fid"]
        31.5
        >>> fn.train.Request(hyperparams={"learning_rate": 1e-4}).stop
        False
    """

    stop: bool = False
    save: bool = False
    hyperparams: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("stop", "save"):
            value = getattr(self, name)
            is_array = isinstance(value, jax.Array) and value.dtype == bool and value.shape == ()
            if not is_array and not isinstance(value, bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {_check.describe(value)}.")
        for field in ("hyperparams", "values"):
            value = getattr(self, field)
            if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
                raise TypeError(f"{field} must map names to numbers, got {_check.describe(value)}.")
        if reserved := sorted({"", "epoch", "step"} & self.values.keys()):
            raise ValueError(
                "the names of values must not be 'epoch' or 'step', which the logs use, or empty, got "
                f"{reserved[0]!r}. Rename it: fn.train.Request(values={{'my_value': ...}})."
            )
        numbers = {name: _to_number(name, value) for name, value in self.values.items()}
        object.__setattr__(self, "values", numbers)


def _to_number(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
    if not is_number or np.shape(value) or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(
            f"values must map names to numbers, got {_check.describe(value)} for {name!r}. Try "
            f"fn.train.Request(values={{{name!r}: float(...)}})."
        )
    return float(value)


NOTHING = Request()


def join_requests(request: Request, callback: Any, answer: Any) -> Request:
    """Join a request with the answer of a callback."""
    if callback.read_only:
        raise TypeError(
            f"{type(callback).__name__} has read_only=True but returned a request. Set read_only=False; "
            "then the run returns to the host at the end of every epoch."
        )
    if not isinstance(answer, Request):
        is_values = isinstance(answer, Mapping) and answer
        code = f"values={{{next(iter(answer))!r}: ...}}" if is_values else "stop=True"
        raise TypeError(
            f"a callback must return None or a funcnet.train.Request, got {_check.describe(answer)}. Try "
            f"fn.train.Request({code})."
        )
    if twice := request.values.keys() & answer.values.keys():
        raise ValueError(
            f"two callbacks request the value {min(twice)!r} in one epoch. Rename one of them."
        )
    return Request(
        stop=bool(request.stop or answer.stop),
        save=bool(request.save or answer.save),
        hyperparams={**request.hyperparams, **answer.hyperparams},
        values={**request.values, **answer.values},
    )


def agree_on(get_request: Callable[[], Request]) -> Request:
    """The request of the callbacks of all processes: any may stop the run, values are those of process 0.

    Raises:
        ValueError: in every process, if the requested hyperparameters differ between processes.
    """
    with _processes.together():
        request = get_request()
    if _processes.count() == 1:
        return request
    hyperparams = {name: repr(np.asarray(value).tolist()) for name, value in request.hyperparams.items()}
    advice = "Callbacks run in every process, and must request the same hyperparameters in each."
    _processes.check_equal(hyperparams, {"": advice})
    stop, save = _processes.largest([request.stop, request.save])
    values = json.loads(_processes.share_text(json.dumps(dict(request.values)))[0])
    return dataclasses.replace(request, stop=bool(stop), save=bool(save), values=values)


def check_no_answer(method: str, answer: Any) -> None:
    """Check the answer of a callback at a moment at which it can't request anything."""
    if answer is not None:
        raise TypeError(
            f"{method} must return None, got {_check.describe(answer)}. Return a Request from on_epoch_end."
        )


def apply_request(state: TrainState, request: Request) -> TrainState:
    """The state after a request; the same object if nothing changes."""
    if request.hyperparams:
        opt_state = set_hyperparams(state.opt_state, request.hyperparams)
        state = _tree.replace(state, opt_state=opt_state)
    if request.stop:
        state = _tree.replace(state, stopping=state.stopping.end(jax.numpy.array(True), Outcome.REQUESTED))
    return state

"""How a network of another library is told whether it trains: by a flag of its call."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

IN_TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "inference": False,
    "use_running_average": False,
}

Kwargs: TypeAlias = tuple[tuple[str, Any], ...]


def mode_kwargs(
    call: Any, train_kwargs: Mapping[str, Any] | None, eval_kwargs: Mapping[str, Any] | None
) -> tuple[Kwargs, Kwargs]:
    """The keyword arguments of a call in training and in inference: those given, else its flags."""
    if train_kwargs is not None or eval_kwargs is not None:
        return _items("train_kwargs", train_kwargs), _items("eval_kwargs", eval_kwargs)
    names = [name for name in inspect.signature(call).parameters if name in IN_TRAINING]
    training = tuple((name, IN_TRAINING[name]) for name in names)
    return training, tuple((name, not value) for name, value in training)


def check_call(name: str, call: Any, given: Iterable[str]) -> None:
    """Check that a call takes one input, and no other argument that must be given."""
    parameters = list(inspect.signature(call).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first = {"self", *[p.name for p in positional[:2]]}
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in first | set(given)
    ]
    if missing:
        raise ValueError(
            f"the call of {name} must take one input, any pytree, and settings with defaults, got the "
            f"argument {missing[0]!r} without a default. Give a setting a default, and wrap a network of "
            "several inputs in one whose call takes a tuple: def __call__(self, inputs): x, y = inputs."
        )


def _items(name: str, kwargs: Any) -> Kwargs:
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise TypeError(f"{name} must be a dictionary, got {kwargs!r}. Try {name}={{'train': True}}.")
    return tuple(sorted((kwargs or {}).items()))


def no_flag(name: str, layers: str, call: str = "") -> ValueError:
    """The error for a network that behaves differently in training, and has no flag for it."""
    flags = ", ".join(IN_TRAINING)
    if call:
        return ValueError(f"{name} has {layers}, and its call has no argument training. Add it: {call}.")
    return ValueError(
        f"{name} has {layers}, and its call has no flag for training, one of {flags}. Add such an "
        f"argument, def __call__(self, x, train: bool = False), or name yours: train_kwargs={{...}}, "
        "eval_kwargs={...}."
    )

"""From the optimizers that `fit` is given to the one transformation of a run."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import optax

from funcnet import _check
from funcnet._types import Array
from funcnet.train._ema import with_ema
from funcnet.train._players import players_optimizer

Optimizer: TypeAlias = optax.GradientTransformation | Callable[..., optax.GradientTransformation]
"""A transformation, or a function of the number of steps that returns one."""


def of_steps(optimizer: Any) -> bool:
    """Whether an optimizer, or one of several, is a function of the number of steps in the run."""
    if isinstance(optimizer, Mapping):
        return any(map(of_steps, optimizer.values()))
    return callable(optimizer) and not hasattr(optimizer, "update")


def check_optimizer(optimizer: Any) -> None:
    """Check that an optimizer is a transformation, or a function of `steps`."""
    if isinstance(optimizer, Mapping):
        for one in optimizer.values():
            check_optimizer(one)
        return
    if not of_steps(optimizer):
        _check.optimizer(optimizer)
        return
    names = _check.argument_names(optimizer)
    # `optax.adam` without its call has another argument: the number of steps would be its learning rate.
    if names != ["steps"]:
        raise TypeError(
            "optimizer must be an optax GradientTransformation, or a function of `steps` that returns one, "
            f"got {_check.describe(optimizer)}, a function of {', '.join(names) or 'nothing'}. Try "
            "optax.adam(1e-3), or name its argument steps: "
            "lambda steps: optax.adam(optax.cosine_decay_schedule(1e-3, steps))."
        )


def resolve_optimizer(
    optimizer: Any, loss: Any, ema: float | Array | None, steps: int | None = None
) -> Any:
    """The transformation of a run; if that depends on its number of steps, a function of it."""
    if steps is None and of_steps(optimizer):
        return functools.partial(resolve_optimizer, optimizer, loss, ema)
    if isinstance(optimizer, Mapping):
        own_steps = {name: None if steps is None else steps * loss.updates[name] for name in optimizer}
        return players_optimizer(
            {name: resolve_optimizer(one, loss, ema, own_steps[name]) for name, one in optimizer.items()}
        )
    if of_steps(optimizer):
        optimizer = optimizer(steps=steps)
        _check.optimizer(optimizer)
    return optimizer if ema is None else with_ema(optimizer, ema)

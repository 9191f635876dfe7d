import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check, _tree
from funcnet._current_step import current_step, start_new_traces
from funcnet._types import Array, ArrayLike, Loss
from funcnet.losses._players import refuse_players

LATE, LAST = tuple(2**29 + 12_345_678 * i for i in range(1, 8)), 2**30
"""Steps at which a schedule has ended, if it ends. Arithmetic on them stays below the end of int32."""


@_check.usage("fn.losses.scheduled(make_loss, beta=optax.linear_schedule(0.0, 1.0, 1_000))")
def scheduled(
    make_loss: Callable[..., Loss],
    /,
    *,
    end_values: Mapping[str, ArrayLike] | None = None,
    **schedules: Callable[[Array], ArrayLike],
) -> Loss:
    """A loss whose settings change during training: `make_loss(beta=schedule(step))` at each step.

    Evaluation takes the end value of each schedule, so that losses of two epochs can be compared. So does
    every call outside of a training step.

    Args:
        make_loss: returns a loss for the values of the settings, such as
            `lambda beta: fn.losses.penalized(loss, l2=beta)`. It is called while a step is traced, with
            traced numbers.
        end_values: the values for evaluation, by name, of schedules that never end. By default the value
            of each schedule at step 2**30.
        **schedules: for each setting a function of the number of optimizer steps made so far, int32 [],
            such as `optax.linear_schedule(0.0, 1.0, 1_000)`, which returns one number. A schedule may hold
            traced values, so a sweep compiles once.

    Returns:
        A loss of the same kind as those of `make_loss`: of one example, or of a batch.

    Raises:
        TypeError: if `make_loss` is not a function of these settings that returns a loss, or a schedule is
            not a function.
        ValueError: if there is no schedule, or one does not return a number, or still changes about step
            2**30 and `end_values` lacks it.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def make_loss(beta):
        ...     def loss(model, example, key):
        ...         return beta * (model - example) ** 2, {"beta": beta}
        ...     return loss
        >>> loss = fn.losses.scheduled(make_loss, beta=optax.linear_schedule(0.0, 1.0, 4))
        >>> train = fn.fit(loss, optax.sgd(0.1), epochs=3, batch_size=2)
        >>> run = train(jnp.array(0.0), jnp.ones(4), jax.random.key(0), valid=jnp.ones(4))
        >>> run.history["beta"].tolist(), run.history["val_beta"].tolist()
        ([0.125, 0.625, 1.0], [1.0, 1.0, 1.0])

    Source: Bowman et al., "Generating sentences from a continuous space", 2016, for annealing the
    Kullback-Leibler term of a variational autoencoder.
    """
    names = ", ".join(schedules)
    _check.takes("make_loss", make_loss, f"a function ({names}) -> loss", **dict.fromkeys(schedules))
    if not schedules:
        raise ValueError(
            "scheduled needs a schedule for each setting, got none. Try "
            "scheduled(make_loss, beta=optax.linear_schedule(0.0, 1.0, 1_000))."
        )
    for name, schedule in schedules.items():
        _check.takes(
            name, schedule, "a function of the step, such as optax.linear_schedule(0.0, 1.0, 1_000)", 0
        )
    if end_values is not None and not isinstance(end_values, Mapping):
        raise TypeError(
            f"end_values must be a dictionary by name, got {_check.describe(end_values)}. Try "
            f"end_values={{{next(iter(schedules))!r}: 1.0}}."
        )
    given = {} if end_values is None else dict(end_values)
    if unknown := sorted(given.keys() - schedules.keys()):
        raise ValueError(f"end_values must name schedules ({names}), got {unknown[0]!r}.")
    ends = {
        name: _number(name, given[name]) if name in given else _end_value(name, schedule)
        for name, schedule in schedules.items()
    }
    # A first trace, so that an `if` on a traced number is found here and not in training.
    structs = {name: jax.ShapeDtypeStruct((), value.dtype) for name, value in ends.items()}
    jax.eval_shape(lambda step: {n: _value(n, s, step) for n, s in schedules.items()}, jnp.int32(0))
    with _check.only_jax("make_loss", "one loss for each value"):
        jax.eval_shape(lambda values: make_loss(**values) and None, structs)
        at_end = make_loss(**ends)
    _check.loss(at_end)
    refuse_players(at_end, "scheduled")

    @functools.wraps(at_end)  # keeps attributes of the loss, such as its check of targets
    def scheduled_loss(model: Any, *rest: Any) -> Any:
        step = current_step()
        if step is None:
            return at_end(model, *rest)
        values = {name: _value(name, schedule, step) for name, schedule in schedules.items()}
        return make_loss(**values)(model, *rest)

    start_new_traces()
    return scheduled_loss


def _end_value(name: str, schedule: Callable[[Array], Any]) -> Array:
    *late, last = (_number(name, schedule(jnp.int32(step))) for step in (*LATE, LAST))
    if not _tree.is_concrete((late, last)):
        return last
    if not np.isfinite(last):
        raise ValueError(f"the end value of {name} must be finite, got {last}.")
    if not np.allclose(late, last, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"the schedule of {name} must end, since evaluation takes its end value, got {late[0]:.4g} "
            f"at step {LATE[0]:,} and {last:.4g} at step {LAST:,}. Pass the value for evaluation: "
            f"scheduled(make_loss, {name}=schedule, end_values={{{name!r}: 1.0}})."
        )
    return last


def _value(name: str, schedule: Callable[[Array], Any], step: Array) -> Array:
    with _check.only_jax(f"the schedule of {name}", "optax.piecewise_constant_schedule"):
        value = schedule(step)
    return _number(name, value)


def _number(name: str, value: Any) -> Array:
    is_number = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
    if not is_number or jnp.shape(value) or not jnp.issubdtype(jnp.result_type(value), jnp.number):
        raise ValueError(
            f"the value of {name} must be one number, got {_check.describe(value)}. Try "
            f"{name}=optax.linear_schedule(0.0, 1.0, 1_000)."
        )
    return jnp.asarray(value, jnp.result_type(value, jnp.float32))

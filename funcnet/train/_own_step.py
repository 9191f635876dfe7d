"""A custom step, with what `fit` does around each step."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check, _tree
from funcnet._metric import MetricSums, check_metric, promote_to_float32
from funcnet._module import trainable
from funcnet._sow import update_buffer_p
from funcnet._types import PyTree
from funcnet.data import Batch
from funcnet.train._state import TrainState
from funcnet.train._step_info import StepInfo
from funcnet.train._update import Update
from funcnet.transform._jaxpr import as_function, contains
from funcnet.transform._objective import Totals

OwnStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Any]]
"""`(state, batch) -> (state, values)`: values by name with a "loss", or a `StepInfo`."""

EXPECTED = "a function (state, batch) -> (state, {'loss': ...})"


def own_update(step: OwnStep) -> Callable[[TrainState, Batch], Update]:
    """The update that a custom step makes."""

    def take(state: TrainState, batch: Batch) -> tuple[PyTree, PyTree, Totals]:
        with _check.only_jax("step", "a callback of fn.Trainer, which gets numbers"):
            result = step(state, batch)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], TrainState)):
            raise TypeError(f"step must be {EXPECTED}, got {_check.describe(result)} as its result.")
        new, values = result
        for name in ("model", "opt_state"):
            _check_unchanged(name, getattr(state, name), getattr(new, name))
        totals = values.totals if isinstance(values, StepInfo) else _totals(values, batch)
        return new.model, new.opt_state, totals

    def make_update(state: TrainState, batch: Batch) -> Update:
        program, structs = jax.make_jaxpr(take, return_shape=True)(state, batch)
        if contains(program.jaxpr, update_buffer_p()):
            # Its statistics would count padded rows, and only `fn.step` knows where they are kept.
            raise ValueError(
                "step must leave layers with running statistics, such as BatchNorm, to fn.step, got a call "
                "of one in training. Write take_step = fn.step(loss, optimizer), and in your step: state, "
                "info = take_step(state, batch)."
            )
        model, opt_state, totals = as_function(program, structs)(state, batch)
        parameters, buffers = _tree.partition(model, trainable(model))
        must_be_finite = {"loss": totals.sums["loss"], "the new": parameters}
        return Update(totals, must_be_finite, lambda: (parameters, opt_state), buffers)

    return make_update


def _totals(values: Any, batch: Batch) -> Totals:
    """Weighted sums of the means over a batch; zero if all its weights are."""
    if not (isinstance(values, Mapping) and "loss" in values):
        raise TypeError(
            f"step must be {EXPECTED}, got {_check.describe(values)} in place of the values. Return the "
            "loss and the metrics by name: return state, {'loss': loss}."
        )
    _check.metric_names(name for name in values if name != "loss")
    weight = batch.total_weight

    def weighted(value: Any) -> Any:
        value = promote_to_float32(value)
        return jnp.where(weight > 0, value, jnp.zeros_like(value))

    sums = {}
    for name, value in values.items():
        check_metric(f"the value {name!r} of a step", value, ())
        is_sum = isinstance(value, MetricSums)
        sums[name] = jax.tree.map(weighted, value) if is_sum else weighted(value) * weight
    return Totals(sums, weight)


def _check_unchanged(name: str, before: PyTree, after: PyTree) -> None:
    """Check that a loop can carry what a step returns: no structure, shape or dtype has changed."""
    old, new = (
        {path: _tree.dtype_and_shape(leaf) for path, leaf in _tree.paths(tree).items()}
        for tree in (before, after)
    )
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            raise ValueError(
                f"step must keep the structure, shapes and dtypes of the state's {name}, got "
                f"{new.get(path, 'nothing')} in place of {old.get(path, 'nothing')} at {path or name}."
            )

"""The tables are complete: whatever is public stands in one of them."""

import inspect
from types import ModuleType

import jax
import pytest
import tables

import funcnet as fn

WRAPPERS = {"supervised", "batchwise", "penalized", "players", "scheduled", "weighted"}
# Of all rows at once, or the way to them: tests/oracles/test_oracle_metrics.py.
OF_ARRAYS = {"measure", "roc_auc", "average_precision", "whole"}


def _classes(module: ModuleType) -> set[type]:
    public = {getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {thing for thing in public if inspect.isclass(thing) and issubclass(thing, fn.Module)}


def _functions(module: ModuleType) -> set[str]:
    things = {name: thing for name in dir(module) if inspect.isfunction(thing := getattr(module, name))}
    return {name for name, thing in things.items() if name[0] != "_" and name != "attach_stub"}


def _named(table: dict[str, tables.PerExample]) -> set[str]:
    return {tables.name_of(entry.function) for entry in table.values()}


def test_every_public_module_is_in_the_table() -> None:
    public = _classes(fn.layers) | _classes(fn.models)
    assert public <= {type(model.net) for model in tables.MODELS.values()}


def test_every_loss_and_metric_is_in_its_table() -> None:
    assert _functions(fn.losses) - WRAPPERS == _named(tables.LOSSES)
    made = {"top_k", *(name.replace("-", "_") for name in tables.SUM_METRICS)}
    plain = _named(tables.METRICS) - {"among_k"}
    for name in _functions(fn.metrics) - OF_ARRAYS - plain:
        assert any(one.startswith(name) for one in made), f"{name} is in no table"


def _same_with_a_key(case: tables.Model) -> bool:
    model, (x, _) = case.init(), case.rows(10)
    return tables.same_bits(model(x, key=jax.random.key(0)), model(x))


@pytest.mark.slow
@pytest.mark.usefixtures("free_memory")
def test_random_models_are_named() -> None:
    differ = [name for name, model in tables.MODELS.items() if not _same_with_a_key(model)]
    assert sorted(differ) == sorted(tables.RANDOM + tables.BATCHED)

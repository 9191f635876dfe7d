"""The tables are complete: whatever is public stands in one of them."""

import inspect
from types import ModuleType

import jax
import tables

import funcnet as fn

NO_LOSS_OF_ITS_OWN = {"supervised", "batchwise"}


def _classes(module: ModuleType) -> set[type]:
    public = {thing for name, thing in vars(module).items() if not name.startswith("_")}
    return {thing for thing in public if inspect.isclass(thing) and issubclass(thing, fn.Module)}


def _functions(module: ModuleType) -> set[str]:
    return {
        name
        for name, thing in vars(module).items()
        if inspect.isfunction(thing) and thing.__module__.startswith(module.__name__) and name[0] != "_"
    }


def _named(table: dict[str, tables.PerExample]) -> set[str]:
    return {entry.function.__name__ for entry in table.values()}


def test_every_public_module_is_in_the_table() -> None:
    public = _classes(fn.layers) | _classes(fn.models)
    assert public <= {type(model.net) for model in tables.MODELS.values()}


def test_every_loss_and_metric_is_in_its_table() -> None:
    assert _functions(fn.losses) - NO_LOSS_OF_ITS_OWN == _named(tables.LOSSES)
    assert _functions(fn.metrics) == _named(tables.METRICS)


def test_random_models_are_named() -> None:
    differ = []
    for name, case in tables.MODELS.items():
        x, _ = case.rows(10)
        if not tables.same_bits(case.init()(x, key=jax.random.key(0)), case.init()(x)):
            differ.append(name)
    assert differ == tables.RANDOM

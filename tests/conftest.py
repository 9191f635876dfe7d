"""Settings of all tests: shapes are checked, dtype promotion raises, several devices, no display.

They are set before the first `import funcnet`. `tests/` is put on the path for `import tables`.
"""

import collections
import ctypes
import gc
import os
import sys
from pathlib import Path

# Half of the time of the tests is compilation; unoptimised code in one module compiles five times as fast.
# If XLA_FLAGS is set, even to nothing, the tests run on the code that users run: `XLA_FLAGS= make test`.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent))

import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import jax
import jaxtyping
import optax
import pytest
import runtime_shapes

jaxtyping.jaxtyped = runtime_shapes.only_where_shapes_are_named(jaxtyping.jaxtyped)
jaxtyping.install_import_hook("funcnet", "runtime_shapes.checked")

# The command turns on the compilation cache for all later tests in its process, and a test of a full disk
# would leave a truncated program there. tests/test_cache.py starts its own process.
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

MEMORY = 1.2e9  # bytes
STATM = Path("/proc/self/statm")  # of Linux

collect_ignore = ["process_cases.py", "site.py", "smoke.py"]  # scripts, which others run

# How many programs a test file compiled when it was imported: see test_imports.py.
compiled_at_import: collections.Counter[str] = collections.Counter()

LAWS_OF_MODELS = {
    *("test_laws_means.py", "test_laws_order.py", "test_laws_pure.py", "test_laws_settings.py"),
    *("test_laws_inputs.py", "test_laws_transform.py", "test_mesh.py", "test_precision.py"),
}

# Examples of docstrings that take more than a second, of what the tests beside them run as well.
SLOW_EXAMPLES = {
    *("data._augment.mixup", "data._bootstrap.out_of_bag", "data._fold.kfold", "layers._conv.Conv3d"),
    *("layers._bidirectional.Bidirectional", "layers._recurrent.GRU", "layers._upsample.Upsample"),
    *("models._res_mlp.ResMLP", "models._siren.SIREN", "report._study.folds", "tabular._study.study_table"),
    *("study._capacity_curve.capacity_curve", "study._cross_validate.cross_validate"),
    *("study._ensemble.EnsembleResult", "study._learning_curve.learning_curve", "study._sweep.sweep"),
    *("study._sweep_sizes.sweep_sizes", "study._sweep_sizes.SweepSizesResult"),
    *("study._halving.HalvingResult", "study._halving.halving"),
    *("study._learning_rate_range.learning_rate_range", "train._average_weights.AverageWeights"),
    "train._replay.replay",
}

hypothesis.settings.register_profile(
    "funcnet",
    derandomize=True,
    deadline=None,
    max_examples=30,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("funcnet")

# A trace consists of many small, long-lived objects: collecting after every 700 took 4 % of the time.
gc.set_threshold(100_000, 50, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests: laws on models outside `tables.QUICK` and on `tables.VARIANTS`, and `SLOW_EXAMPLES`."""
    import tables

    examples = {f"funcnet.{name}" for name in SLOW_EXAMPLES}
    slow_names = tables.MODELS.keys() - tables.QUICK | set(tables.VARIANTS)
    for item in items:
        if item.name in examples:
            item.add_marker(pytest.mark.slow)
        values = getattr(item, "callspec", None) and item.callspec.params.values()
        names = [value for value in values or () if isinstance(value, str)]
        if item.path.name in LAWS_OF_MODELS and not slow_names.isdisjoint(names):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Notes which test files compile when they are imported."""

    def note(event: str, *_: Any, **__: Any) -> None:
        if "backend_compile" in event and isinstance(collector, pytest.Module):
            compiled_at_import[str(collector.path.relative_to(collector.config.rootpath))] += 1

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        return (yield)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


class MemoryLimit:
    """A worker that holds much memory drops its compiled programs, and gives it back to the system."""

    def pytest_runtest_teardown(self) -> None:
        if STATM.exists() and int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > MEMORY:
            _free_memory()


@pytest.fixture
def free_memory() -> None:
    """For a test of large arrays: the worker gives back what it holds."""
    _free_memory()


def _free_memory() -> None:
    jax.clear_caches()
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # glibc keeps it otherwise


def pytest_configure(config: pytest.Config) -> None:
    """Hooks of a conftest see the tests beside it only; the examples of docstrings are in funcnet/."""
    config.pluginmanager.register(MemoryLimit())


def _with_standard_promotion(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under JAX's standard dtype promotion."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return call


def _factory_with_standard_promotion(factory: Callable[..., Any]) -> Callable[..., Any]:
    """`factory`, whose results run under JAX's standard dtype promotion."""

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Any:
        return _with_standard_promotion(factory(*args, **kwargs))

    return make


# These functions of optax raise a float to the power of an int32 count. Only they may promote; the rest of
# a step is strict.
optax.tree.bias_correction = _with_standard_promotion(optax.tree.bias_correction)
for _name in ("cosine_decay_schedule", "warmup_cosine_decay_schedule", "exponential_decay"):
    setattr(optax, _name, _factory_with_standard_promotion(getattr(optax, _name)))

"""What every test runs under: shapes checked, silent promotion refused, several devices, no display.

It sets all this before the first `import funcnet`, and puts `tests/` on the path for `import tables`.
"""

import gc
import os
import sys
from pathlib import Path

# Half of a test's time is XLA's compiler; unoptimised code, in one piece, compiles five times as fast.
# Setting XLA_FLAGS, to nothing at all as well, runs the tests on what users run: `XLA_FLAGS= make test`.
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

jaxtyping.install_import_hook("funcnet", "runtime_shapes.checked")

# The command switches the cache of compiled programs on, for all tests that follow it in one process; a
# test of a full disk would leave half a program there. tests/test_cache.py has a process of its own.
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

LAWS_OF_MODELS = {
    *("test_laws_means.py", "test_laws_order.py", "test_laws_pure.py", "test_laws_settings.py"),
    *("test_laws_transform.py", "test_mesh.py", "test_precision.py"),
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

# A trace is many small objects that live on: looking through them after each 700 took 4 % of the time.
gc.set_threshold(100_000, 50, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Laws over the models that are not one of `tables.QUICK` and over `tables.VARIANTS` are slow tests."""
    import tables

    slow_names = tables.MODELS.keys() - tables.QUICK | set(tables.VARIANTS)
    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params.values()
        names = [value for value in values or () if isinstance(value, str)]
        if item.path.name in LAWS_OF_MODELS and not slow_names.isdisjoint(names):
            item.add_marker(pytest.mark.slow)


def _relaxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under JAX's standard promotion of dtypes."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return call


def _relaxed_result(factory: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(factory)(lambda *args, **kwargs: _relaxed(factory(*args, **kwargs)))


# optax raises a float to an int32 count in these. Only they may promote; the rest of a step is strict.
optax.tree.bias_correction = _relaxed(optax.tree.bias_correction)
for _name in ("cosine_decay_schedule", "warmup_cosine_decay_schedule", "exponential_decay"):
    setattr(optax, _name, _relaxed_result(getattr(optax, _name)))

"""funcnet in one floating-point format or another."""

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np

import funcnet as fn
from jobs import Job, funcnet_fit
from workloads import Workload

MATMUL = {"float32, highest": "highest", "tf32": "tensorfloat32"}
"""How matrix products of float32 are computed, where that is not JAX's default."""

FORMATS = ("float32", *MATMUL, "bfloat16", "float64")


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{"format": name} for name in FORMATS]


def prepare(work: Workload, format: str) -> Job:
    """float64 is computed on the CPU, and by all that its process does from then on."""
    precision = fn.Precision(compute="bfloat16") if format == "bfloat16" else None
    if format == "float64":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        precision = fn.Precision("float64", "float64", "float64")
        start = [part.astype(np.float64) for part in work.start]
        work = dataclasses.replace(work, x=work.x.astype(np.float64), start=start)
    train, (model, data, _) = funcnet_fit.program(work, precision)

    def run(seed: int) -> Any:
        matmul = MATMUL.get(format)
        with jax.default_matmul_precision(matmul) if matmul else contextlib.nullcontext():
            return jax.block_until_ready(train(model, data, jax.random.key(seed)))

    return Job(run, lambda run: funcnet_fit.weights(work, run.model))

"""The best hand-written JAX after `fuse_small_loops()`: XLA's flags hold for it, too."""

from typing import Any

import funcnet as fn
from jobs import Job, jax_scan
from jobs.jax_scan import variants as variants
from workloads import Workload


def prepare(work: Workload, **variant: Any) -> Job:
    fn.fuse_small_loops()
    return jax_scan.prepare(work, **variant)

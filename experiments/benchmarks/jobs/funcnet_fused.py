"""funcnet as its users write it, after `fuse_small_loops()`: a flag of XLA's for the whole process."""

import funcnet as fn
from jobs import Job, funcnet_fit
from jobs.funcnet_fit import variants as variants
from workloads import Workload


def prepare(work: Workload) -> Job:
    fn.fuse_small_loops()
    return funcnet_fit.prepare(work)

"""A thousand runs in one program, on all cores: `fn.study.ensemble`."""

from typing import Any

import jax

import funcnet as fn
from jobs import MEMBERS, Job, funcnet_fit
from workloads import Workload

fn.mesh.cpu_devices()


def variants(work: Workload) -> list[dict[str, Any]]:
    return [{}]


def prepare(work: Workload, members: int = MEMBERS, block: int | None = None) -> Job:
    train, (_, data, _) = funcnet_fit.program(work)
    sizes = work.sizes if work.classes else (*work.sizes[:-1], "scalar")
    net = fn.MLP(sizes)  # an architecture: every member draws a start of its own
    average = "classes" if work.classes else "values"
    many = fn.study.ensemble(train, members, average=average, block=block)

    def run(seed: int) -> Any:
        with fn.mesh.use():
            return jax.block_until_ready(many(net, data, jax.random.key(seed)))

    def weights(result: Any) -> Any:
        first = jax.tree.map(lambda a: a[0], result.runs.model)
        return funcnet_fit.weights(work, first)

    return Job(run, weights)

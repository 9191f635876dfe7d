"""SimCLR beside PyTorch: the same start, the same batches, a short last one and rows of weight 0 too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches

import funcnet as fn

pytestmark = pytest.mark.slow
KEY = jax.random.key(1)
JOB, PEER = load_job("contrastive_learning")


@pytest.mark.parametrize("some_count", [False, True])
def test_simclr_ends_in_pytorchs_numbers(some_count):
    images = np.random.default_rng(0).uniform(size=(300, 64)).astype(np.float32)
    views = tuple(map(jnp.asarray, JOB["make_views"](images, 1, seed=1)))
    weight = jnp.asarray(np.random.default_rng(2).integers(0, 2, 300), jnp.float32) if some_count else None
    data = fn.data.Dataset(views, weight=weight)
    model, net = JOB["SimCLR"]().init(jax.random.key(0)), PEER["SimCLR"]()
    for part in ("encoder", "projector"):
        for i in (0, 3):
            copy_linear(getattr(net, part)[i], getattr(model, part).layers[i])
    run = JOB["train"](model, data, KEY, epochs=3)
    history = PEER["train"](
        net, [list(tensor_batches(data, JOB["BATCH"], KEY, epoch)) for epoch in range(3)]
    )
    np.testing.assert_allclose(run.history["loss"], history, rtol=1e-4)
    for part in ("encoder", "projector"):
        ours, theirs = getattr(run.model, part).layers[1], getattr(net, part)[1]
        for name, value in (("mean", theirs.running_mean), ("variance", theirs.running_var)):
            np.testing.assert_allclose(getattr(ours, name).value, value, rtol=1e-3, atol=1e-4)

"""SimCLR beside PyTorch: the same start, the same batches, a short last one and rows of weight 0 too."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
JOB = runpy.run_path(str(EXPERIMENTS / "contrastive_learning.py"))
KEY = jax.random.key(1)


def _peer(model):
    peer = runpy.run_path(str(EXPERIMENTS / "peers/contrastive_learning.py"))
    net = peer["SimCLR"]()
    with torch.no_grad():
        for part in ("encoder", "projector"):
            for ours, theirs in zip(getattr(model, part).layers, getattr(net, part), strict=True):
                if isinstance(ours, fn.Linear):
                    theirs.weight.copy_(torch.tensor(np.array(ours.weight).T))
                    if ours.bias is not None:
                        theirs.bias.copy_(torch.tensor(np.array(ours.bias)))
    return net, peer["train"]


@pytest.mark.parametrize("some_count", [False, True])
def test_simclr_ends_in_pytorchs_numbers(some_count):
    images = np.random.default_rng(0).uniform(size=(300, 64)).astype(np.float32)
    views = tuple(map(jnp.asarray, JOB["make_views"](images, 1, seed=1)))
    weight = jnp.asarray(np.random.default_rng(2).integers(0, 2, 300), jnp.float32) if some_count else None
    data = fn.data.Dataset(views, weight=weight)
    model = JOB["SimCLR"]().init(jax.random.key(0))
    run = JOB["train"](model, data, KEY, epochs=3)
    epochs = [
        [
            tuple(torch.tensor(np.array(view)[np.array(batch.weight) > 0]) for view in batch.example)
            for batch in fn.data.batches(data, JOB["BATCH"], KEY, epoch)
        ]
        for epoch in range(3)
    ]
    net, train = _peer(model)
    history = train(net, epochs)
    np.testing.assert_allclose(run.history["loss"], history, rtol=1e-4)
    for part in ("encoder", "projector"):
        ours, theirs = getattr(run.model, part).layers[1], getattr(net, part)[1]
        for name, value in (("mean", theirs.running_mean), ("variance", theirs.running_var)):
            np.testing.assert_allclose(getattr(ours, name).value, value, rtol=1e-3, atol=1e-4)

"""Transfer learning beside PyTorch, from the same weights over the same batches."""

import jax
import numpy as np
import optax
import pytest
from torch_jobs import load_job, tensor_batches, to_tensor, torch

import funcnet as fn

pytestmark = pytest.mark.slow
KEY = jax.random.key(4)
JOB, PEER = load_job("transfer_learning")


def state_of(model):
    """The arrays of a model by PyTorch's names, in PyTorch's order of axes."""
    names = {"scale": "weight", "mean": "running_mean", "variance": "running_var"}
    arrays = {"head.weight": model.head.weight.T, "head.bias": model.head.bias}
    for i, layer in enumerate(model.backbone.layers):
        if isinstance(layer, fn.layers.Conv2d):
            arrays[f"backbone.{i}.weight"] = layer.weight.transpose(3, 2, 0, 1)
        elif isinstance(layer, fn.layers.BatchNorm):
            for field in ("scale", "bias", "mean", "variance"):
                value = getattr(layer, field)
                arrays[f"backbone.{i}.{names.get(field, field)}"] = getattr(value, "value", value)
    return {name: to_tensor(a) for name, a in arrays.items()}


@pytest.mark.parametrize("way", ["from_scratch", "frozen", "fine_tuned", "rates_by_path"])
def test_it_ends_in_the_same_numbers(way):
    digits, others = JOB["tasks"]()
    pretrained = JOB["fit"](optax.adam(1e-3), 1)(JOB["Net"]().init(KEY), digits, KEY).model
    rows, epochs = tuple(a[:50] for a in others), 3
    net, train = JOB[way](pretrained, epochs)
    model = net.init(KEY)
    run = train(model, rows, KEY)

    peer = PEER["Net"]()
    peer.load_state_dict(state_of(model), strict=False)
    channels_first = rows[0].transpose(0, 3, 1, 2), rows[1]
    batches = [list(tensor_batches(channels_first, 16, KEY, epoch)) for epoch in range(epochs)]
    losses = PEER["train"](peer, PEER[way](peer), batches)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=2e-3)
    theirs = peer.state_dict()
    for name, expected in state_of(run.model).items():
        np.testing.assert_allclose(theirs[name], expected, rtol=2e-2, atol=2e-3, err_msg=name)
    if way == "frozen":
        assert fn.trainable(run.model).backbone.layers[0].weight is False
        assert all(torch.equal(theirs[n], a) for n, a in state_of(model).items() if "backbone" in n)

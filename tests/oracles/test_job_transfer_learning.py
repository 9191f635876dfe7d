"""Transfer learning beside PyTorch, from the same weights over the same batches."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
KEY = jax.random.key(4)


def load(name, folder):
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name}", folder / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


JOB, PEER = load("transfer_learning", EXPERIMENTS), load("transfer_learning", EXPERIMENTS / "peers")


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
    return {name: torch.tensor(np.asarray(a)) for name, a in arrays.items()}


def _real_rows(batch):
    """The examples of a batch without its padding."""
    x, y = (np.asarray(a)[np.asarray(batch.weight) > 0] for a in batch.example)
    return x, y.astype(np.int64)


@pytest.mark.parametrize("way", ["from_scratch", "frozen", "fine_tuned", "rates_by_path"])
def test_it_ends_in_the_same_numbers(way):
    (images, labels), others = JOB.tasks()
    pretrained = JOB.fit(JOB.optax.adam(1e-3), 1)(JOB.Net().init(KEY), (images, labels), KEY).model
    rows, epochs = (others[0][:50], others[1][:50]), 3
    net, train = getattr(JOB, way)(pretrained, epochs)
    model = net.init(KEY)
    run = train(model, rows, KEY)

    peer = PEER.Net()
    peer.load_state_dict(state_of(model), strict=False)
    batches_of_epochs = []
    for epoch in range(epochs):
        real = (_real_rows(batch) for batch in fn.data.batches(rows, 16, KEY, epoch))
        batches_of_epochs.append(
            [(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)) for x, y in real]
        )
    losses = PEER.train(peer, getattr(PEER, way)(peer), batches_of_epochs)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=2e-3)
    theirs = peer.state_dict()
    for name, expected in state_of(run.model).items():
        np.testing.assert_allclose(theirs[name], expected, rtol=2e-2, atol=2e-3, err_msg=name)
    if way == "frozen":
        assert fn.trainable(run.model).backbone.layers[0].weight is False
        assert all(torch.equal(theirs[n], a) for n, a in state_of(model).items() if "backbone" in n)

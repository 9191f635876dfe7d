"""Two heads beside PyTorch: the same start, the same batches, the same history."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnet as fn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _tensors(tree):
    return jax.tree.map(
        lambda a: torch.tensor(np.array(a)).long() if a.dtype.kind == "i" else torch.tensor(np.array(a)),
        tree,
    )


def _copied(model, peer):
    with torch.no_grad():
        for name in ("title", "text"):
            getattr(peer, name).weight.copy_(torch.tensor(np.array(getattr(model, name).weight)))
        for name in ("priority", "department"):
            ours, theirs = getattr(model, name), getattr(peer, name)
            theirs.weight.copy_(torch.tensor(np.array(ours.weight).reshape(len(ours.weight), -1).T))
            theirs.bias.copy_(torch.tensor(np.array(ours.bias).reshape(-1)))
    return peer


def test_two_heads_end_in_pytorchs_numbers():
    job = runpy.run_path(str(EXPERIMENTS / "two_heads.py"))
    peer = runpy.run_path(str(EXPERIMENTS / "peers/two_heads.py"))
    data, valid, key = job["make_tickets"](500, 0), job["make_tickets"](200, 1), jax.random.key(1)
    model = job["Tickets"]().init(jax.random.key(0))
    run = job["train"](model, data, key, valid, epochs=2)
    epochs = [
        [
            _tensors(
                jax.tree.map(
                    lambda a, rows=batch.weight > 0: np.asarray(a)[np.asarray(rows)], batch.example
                )
            )
            for batch in fn.data.batches(data, job["BATCH"], key, epoch)
        ]
        for epoch in range(2)
    ]
    theirs = peer["train"](
        _copied(model, peer["Tickets"](job["WORDS"], job["TAGS"], job["DEPARTMENTS"])),
        epochs,
        _tensors(valid),
    )
    for name, values in theirs.items():
        np.testing.assert_allclose(run.history[name], values, rtol=2e-4, atol=2e-4, err_msg=name)

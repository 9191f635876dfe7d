"""The tagger of `experiments/` and that of PyTorch: one start, one order of rows, one history."""

import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from tables import assert_close

import funcnet as fn

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def copy_start(model, net):
    """Our parameters as PyTorch's."""
    parts = {
        "embed.weight": model.embed.weight,
        "out.weight": model.out.weight.T,
        "out.bias": model.out.bias,
    }
    for direction, suffix in ((model.rnn.forward, ""), (model.rnn.backward, "_reverse")):
        for layer, name in ((direction.input, "ih"), (direction.recurrent, "hh")):
            parts[f"rnn.weight_{name}_l0{suffix}"] = layer.weight.T
            parts[f"rnn.bias_{name}_l0{suffix}"] = layer.bias
    net.load_state_dict({name: torch.tensor(np.array(value)) for name, value in parts.items()})


@pytest.mark.slow
def test_a_tagger_learns_what_it_learns_with_packed_sequences():
    ours, theirs = (
        runpy.run_path(str(EXPERIMENTS / f)) for f in ("sequence_tagging.py", "peers/sequence_tagging.py")
    )
    texts, key = ours["sentences"](220, seed=3), jax.random.key(1)
    data, model, net = (
        ours["make_rows"](*texts),
        ours["Tagger"]().init(jax.random.key(0)),
        theirs["Tagger"](),
    )
    copy_start(model, net)
    run = ours["tag_trainer"](3)(model, data, key)

    # The order in which `fit` visits rows: that of row numbers in place of the words.
    rows = fn.data.Dataset(np.arange(220))
    orders = []
    for epoch in range(3):
        batches = list(fn.data.batches(rows, 50, key, epoch))
        order = np.concatenate(
            [np.asarray(batch.example)[np.asarray(batch.weight) > 0] for batch in batches]
        )
        orders.append(torch.tensor(order))
    history = theirs["train"](net, theirs["make_rows"](*texts), orders)
    np.testing.assert_allclose(run.history["loss"], history, rtol=1e-4)
    np.testing.assert_allclose(run.model.out.weight, net.out.weight.detach().numpy().T, atol=2e-3)
    assert history[-1] < 0.8 * history[0]

    longer = ours["tag_trainer"](3)(model, ours["make_rows"](*texts, 40), key)
    assert_close(longer.history, run.history, factor=5)

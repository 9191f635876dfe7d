"""The tagger of `experiments/` and that of PyTorch: one start, one order of rows, one history."""

import jax
import numpy as np
import pytest
from tables import assert_close
from torch_jobs import load_job, tensor_batches, to_tensor, torch

pytestmark = pytest.mark.slow
JOB, PEER = load_job("sequence_tagging")


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
    net.load_state_dict({name: to_tensor(value) for name, value in parts.items()})


def test_a_tagger_learns_what_it_learns_with_packed_sequences():
    texts, key = JOB["sentences"](220, seed=3), jax.random.key(1)
    data, model, net = JOB["make_rows"](*texts), JOB["Tagger"]().init(jax.random.key(0)), PEER["Tagger"]()
    copy_start(model, net)
    run = JOB["tag_trainer"](3)(model, data, key)

    # The order in which `fit` visits rows: that of row numbers in place of the words.
    rows = np.arange(220)
    orders = [torch.cat(list(tensor_batches(rows, 50, key, epoch))) for epoch in range(3)]
    history = PEER["train"](net, PEER["make_rows"](*texts), orders)
    np.testing.assert_allclose(run.history["loss"], history, rtol=1e-4)
    np.testing.assert_allclose(run.model.out.weight, net.out.weight.detach().numpy().T, atol=2e-3)
    assert history[-1] < 0.8 * history[0]

    longer = JOB["tag_trainer"](3)(model, JOB["make_rows"](*texts, 40), key)
    assert_close(longer.history, run.history, factor=5)

"""Two heads beside PyTorch: the same start, the same batches, the same history."""

import jax
import numpy as np
import pytest
from torch_jobs import copy_linear, load_job, tensor_batches, to_tensor

pytestmark = pytest.mark.slow
JOB, PEER = load_job("two_heads")


def test_two_heads_end_in_pytorchs_numbers():
    data, valid, key = JOB["make_tickets"](500, 0), JOB["make_tickets"](200, 1), jax.random.key(1)
    model = JOB["Tickets"]().init(jax.random.key(0))
    run = JOB["train"](model, data, key, valid, epochs=2)
    net = PEER["Tickets"](JOB["WORDS"], JOB["TAGS"], JOB["DEPARTMENTS"])
    for name in ("title", "text"):
        getattr(net, name).weight.data = to_tensor(getattr(model, name).weight)
    for name in ("priority", "department"):
        copy_linear(getattr(net, name), getattr(model, name))
    epochs = [list(tensor_batches(data, JOB["BATCH"], key, epoch)) for epoch in range(2)]
    theirs = PEER["train"](net, epochs, jax.tree.map(to_tensor, valid))
    for name, values in theirs.items():
        np.testing.assert_allclose(run.history[name], values, rtol=2e-4, atol=2e-4, err_msg=name)

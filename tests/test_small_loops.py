"""Small loops as one kernel: the same training, and an error where it comes too late."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import funcnet as fn

PROGRAM = """
import json, sys, jax, optax, funcnet as fn
if sys.argv[1] == "fused":
    fn.fuse_small_loops()
    fn.fuse_small_loops()  # once more is the same
data = fn.data.load("iris").data
loss = fn.losses.supervised(fn.losses.cross_entropy)
train = fn.fit(loss, optax.adam(1e-2), epochs=3, batch_size=16)
args = fn.MLP((4, 16, 3)).init(jax.random.key(0)), data, jax.random.key(1)
program = jax.jit(train).lower(*args).compile().as_text()
print(json.dumps([program.count("xla_cpu_small_call"), train(*args).history["loss"].tolist()]))
"""


def run(how):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"XLA_FLAGS": ""},
    )
    return json.loads(done.stdout)


def test_more_loops_are_one_kernel_and_the_losses_are_the_same():
    (few, want), (many, got) = run("plain"), run("fused")
    assert many > few
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_it_must_come_before_jax_starts():
    jax.devices()
    with pytest.raises(RuntimeError, match="reads its flags once"):
        fn.fuse_small_loops()

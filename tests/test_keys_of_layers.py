"""Each layer of a network has a key of its own, for its start and for its dropout."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keys import cached_key

import funcnet as fn
from funcnet import layers as L

HALF = fn.Dropout(0.5)
# Layers of equal sizes, so that equal keys would show: the network, one input, how often it drops units.
NETWORKS = {
    "mlp": (fn.MLP((3, 3, 3, 3), dropout=0.5), (3,), 2),
    "res-mlp": (fn.models.ResMLP(3, 3, width=3, depth=3, dropout=0.5), (3,), 3),
    "transformer": (
        fn.models.Transformer(4, in_features=4, features=4, num_heads=2, depth=3, dropout=0.5),
        (5, 4),
        6,
    ),
    "sequential": (L.Sequential((fn.Linear(3, 3), HALF, fn.Linear(3, 3), HALF)), (3,), 2),
    "residual": (
        L.Residual(L.Sequential((fn.Linear(3, 3), HALF)), L.Sequential((fn.Linear(3, 3), HALF))),
        (3,),
        2,
    ),
    "bidirectional": (L.Bidirectional(L.GRU(3, 3)), (4, 3), 0),
    "attention": (L.MultiHeadAttention(4, 2), (3, 4), 0),
    "number-embedding": (L.NumberEmbedding(3, num_frequencies=4, embedding_size=4), (3,), 0),
    "siren": (fn.models.SIREN((3, 3, 3)), (3,), 0),
}


@pytest.mark.parametrize("name", [name for name, (_, _, count) in NETWORKS.items() if count])
def test_each_dropout_draws_from_a_key_of_its_own(name, monkeypatch):
    net, shape, count = NETWORKS[name]
    model, keys, draw = net.init(cached_key(0)), [], jax.random.bernoulli

    def note(key, *arguments):
        keys.append(tuple(np.asarray(jax.random.key_data(key)).tolist()))
        return draw(key, *arguments)

    monkeypatch.setattr(jax.random, "bernoulli", note)
    model(jnp.ones(shape), key=cached_key(1))
    assert len(set(keys)) == len(keys) == count


@pytest.mark.parametrize("name", NETWORKS)
def test_no_two_parameters_start_with_the_same_numbers(name):
    parameters = jax.tree.leaves_with_path(NETWORKS[name][0].init(cached_key(0)))
    drawn = [(jax.tree_util.keystr(path), np.ravel(a)) for path, a in parameters if np.ptp(a) > 0]
    assert len(drawn) > 1
    for (one, a), (other, b) in itertools.combinations(drawn, 2):
        if a.size == b.size:  # one key draws other numbers for another shape
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.999, (one, other)

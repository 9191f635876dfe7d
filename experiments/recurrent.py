"""Past or future: does the direction in which a sequence is read matter?

python experiments/recurrent.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

# 1. Sequences of numbers, some of them flagged. Two targets per position: the number that was
#    flagged last, and the number that will be flagged next (zero if there is none).
LENGTH = 20


def sequences(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x [n, length, (number, flag)] and y [n, length, (last, next)]."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(-1, 1, (n, LENGTH))
    flags = rng.random((n, LENGTH)) < 0.25
    last, following = np.zeros((n, LENGTH)), np.zeros((n, LENGTH))
    for t in range(1, LENGTH):
        last[:, t] = np.where(flags[:, t - 1], numbers[:, t - 1], last[:, t - 1])
    for t in reversed(range(LENGTH - 1)):
        following[:, t] = np.where(flags[:, t + 1], numbers[:, t + 1], following[:, t + 1])
    x, y = np.stack([numbers, flags], axis=-1), np.stack([last, following], axis=-1)
    return x.astype(np.float32), y.astype(np.float32)


train_rows, test_rows = sequences(2000, seed=0), sequences(1000, seed=1)
print(f"variance of the targets {test_rows[1].var(axis=(0, 1)).round(3)}: the error of a constant\n")


# 2. Networks with about the same number of parameters.
def last_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return fn.losses.squared_error(prediction[:, 0], target[:, 0])


def next_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return fn.losses.squared_error(prediction[:, 1], target[:, 1])


layers = fn.layers
nets = {
    "GRU": fn.Sequential(layers.GRU(2, 24), fn.Linear(24, 2)),
    "LSTM": fn.Sequential(layers.LSTM(2, 21), fn.Linear(21, 2)),
    "bidirectional GRU": fn.Sequential(layers.Bidirectional(layers.GRU(2, 16)), fn.Linear(32, 2)),
    "bidirectional LSTM": fn.Sequential(layers.Bidirectional(layers.LSTM(2, 14)), fn.Linear(28, 2)),
}
loss = fn.losses.supervised(fn.losses.squared_error, last=last_error, next=next_error)
train = fn.fit(loss, optax.adam(1e-2), epochs=12, batch_size=50)

# 3. Squared errors on test sequences.
print(f"{'model':20}{'parameters':>10}{'last flagged':>15}{'next flagged':>15}{'seconds':>10}")
for name, net in nets.items():
    began = time.perf_counter()
    run = train(net.init(jax.random.key(0)), train_rows, jax.random.key(1))
    result = fn.evaluate(loss, run.model, test_rows)
    seconds = time.perf_counter() - began
    errors = f"{result['last']:15.4f}{result['next']:15.4f}"
    print(f"{name:20}{fn.count(run.model):10}{errors}{seconds:10.1f}")

# 4. Why: the output of a GRU at a position cannot depend on later inputs; that of a bidirectional one does.
x = jnp.asarray(test_rows[0][0])
for name in ("GRU", "bidirectional GRU"):
    derivative = jax.jacobian(nets[name].init(jax.random.key(0)))(x)[LENGTH // 2, :, LENGTH // 2 + 1 :]
    print(f"{name}: |d output in the middle / d later inputs| = {jnp.abs(derivative).sum():.3f}")

"""How does gradient descent find the bottom of a bowl, and what does the learning rate do?

python experiments/bowl.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

# 1. A loss needs no data, and a model can be any array: here a point (x, y).


def bowl(point, example, key):
    return (point[0] - 3) ** 2 + (point[1] + 2) ** 2


# 2. Fifteen steps by hand, vmapped over the learning rate, which is an ordinary argument.
batch = (jnp.zeros(1),)  # one row, which the loss does not use


def path(rate):
    optimizer = optax.sgd(rate)
    step = fn.step(bowl, optimizer)

    def one(state, _):
        state, _ = step(state, batch)
        return state, state.model

    start = fn.TrainState.create(jnp.zeros(2), optimizer, jax.random.key(0))
    return jax.lax.scan(one, start, length=15)[1]


rates = jnp.array([0.01, 0.1, 0.5, 0.9, 1.02])
paths = jax.vmap(path)(rates)

# 3. Each step multiplies the distance to the bottom by |1 - 2 · rate|.
print("rate  after 1 step    after 15 steps          distance  predicted")
for rate, points in zip(rates, paths, strict=True):
    distance = jnp.linalg.norm(points[-1] - jnp.array([3.0, -2.0]))
    predicted = np.sqrt(13) * abs(1 - 2 * rate) ** 15
    first = f"({points[0, 0]:.2f}, {points[0, 1]:.2f})"
    last = f"({points[-1, 0]:.6f}, {points[-1, 1]:.6f})"
    print(f"{rate:.2f}  {first:14s}  {last:22s}  {distance:8.4f}  {predicted:9.4f}")

# 4. The picture.
distances = jnp.linalg.norm(paths - jnp.array([3.0, -2.0]), axis=-1)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
curves = {f"rate {rate:.2f}": values for rate, values in zip(rates, distances, strict=True)}
fn.report.curves(curves, axes, xlabel="step", ylabel="distance to the bottom")
axes.set_yscale("log")
picture = Path("runs/bowl.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

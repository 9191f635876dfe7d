"""How does descent find the bottom of a bowl, and what does the learning rate do to its way? (lesson P10)

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


# 2. Fifteen steps by hand, for every learning rate at once: a rate is an argument like any other.
nothing = (jnp.zeros(1),)  # a batch of one row that the loss never reads


def path(rate):
    optimizer = optax.sgd(rate)
    step = fn.step(bowl, optimizer)

    def one(state, _):
        state, _ = step(state, nothing)
        return state, state.model

    start = fn.TrainState.create(jnp.zeros(2), optimizer, jax.random.key(0))
    return jax.lax.scan(one, start, length=15)[1]


rates = jnp.array([0.01, 0.1, 0.5, 0.9, 1.02])
paths = jax.vmap(path)(rates)

# 3. Each step multiplies the distance to the bottom by |1 - 2 · rate|.
print("rate  after 1 step       after 15 steps          distance  predicted")
for rate, points in zip(rates, paths, strict=True):
    distance = jnp.linalg.norm(points[-1] - jnp.array([3.0, -2.0]))
    predicted = np.sqrt(13) * abs(1 - 2 * rate) ** 15
    ends = [
        f"({p[0]:.6f}, {p[1]:.6f})" if i else f"({p[0]:.2f}, {p[1]:.2f})"
        for i, p in enumerate(points[[0, -1]])
    ]
    print(f"{rate:.2f}  {ends[0]:17s}  {ends[1]:22s}  {distance:8.4f}  {predicted:9.4f}")

# 4. The picture.
figure, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
x, y = np.meshgrid(np.linspace(-1, 7, 100), np.linspace(-5, 1, 100))
axes.contour(x, y, (x - 3) ** 2 + (y + 2) ** 2, 12, colors="0.8", linewidths=0.8)
for i, rate in enumerate(rates):
    line = np.concatenate([np.zeros((1, 2)), paths[i]])
    axes.plot(*line.T, marker="osDv^"[i], markersize=4, linewidth=1.2, label=f"rate {rate:.2f}")
axes.legend(frameon=False)
axes.set(xlabel="x", ylabel="y", title="(x - 3)² + (y + 2)²")
picture = Path("runs/bowl.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

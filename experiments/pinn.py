"""Can a network solve a differential equation? A physics-informed network for the heat equation.

    python experiments/pinn.py

The temperature u(x, t) of a rod obeys u_t = 0.1 u_xx. It starts as sin(πx), and the ends stay at 0. Each
example is a point inside, where the equation must hold, and a point of the edge, where u is known; the loss
of one example differentiates the model itself. The exact solution is exp(-0.1 π² t) sin(πx).

Source: Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", 2019.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnet as fn

DIFFUSIVITY = 0.1
NET = fn.MLP((2, 32, 32, "scalar"), activation=jnp.tanh)


def exact(points):
    """The temperature at points [n, 2] of (x, t)."""
    x, t = np.asarray(points).T
    return np.exp(-DIFFUSIVITY * np.pi**2 * t) * np.sin(np.pi * x)


def draw_points(n, seed=0):
    """Points inside [n, 2], points of the edge [n, 2] and the temperatures there [n]."""
    rng = np.random.default_rng(seed)
    inside, edge = rng.uniform(size=(2, n, 2)).astype(np.float32)
    sides = np.arange(n) % 3  # the left end, the right end, the start
    edge[sides == 0, 0], edge[sides == 1, 0], edge[sides == 2, 1] = 0.0, 1.0, 0.0
    return inside, edge, exact(edge).astype(np.float32)


# The job, to be compared with peers/pinn.py.
def heat_loss(model, example, key):
    (x, t), edge, value = example

    def u(x, t):
        return model(jnp.stack([x, t]))

    u_t = jax.grad(u, argnums=1)(x, t)
    u_xx = jax.grad(jax.grad(u))(x, t)
    equation, edges = (u_t - DIFFUSIVITY * u_xx) ** 2, (model(edge) - value) ** 2
    return equation + edges, {"equation": equation, "edges": edges}


def solve(model, data, key, epochs, rate=5e-3, batch_size=64):
    steps = epochs * -(-len(data[0]) // batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return fn.fit(heat_loss, optimizer, epochs=epochs, batch_size=batch_size)(model, data, key)


def main():
    run = solve(NET.init(jax.random.key(0)), draw_points(1024), jax.random.key(1), epochs=300)
    axis = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    solved, truth = np.asarray(fn.predict(run.model, grid)), exact(grid)
    print(f"equation {run.history['equation'][-1]:.2e}, edges {run.history['edges'][-1]:.2e}")
    print(f"relative error {np.linalg.norm(solved - truth) / np.linalg.norm(truth):.2e}")
    print(f"largest error {np.abs(solved - truth).max():.2e}")

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, values, title in zip(
        panels, (solved, solved - truth), ("temperature", "error"), strict=True
    ):
        image = panel.imshow(values.reshape(101, 101), origin="lower", extent=(0, 1, 0, 1), aspect="auto")
        panel.set(xlabel="time", ylabel="place", title=title)
        figure.colorbar(image)
    picture = Path("runs/pinn.png")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=150)
    print(f"picture in {picture}")


if __name__ == "__main__":
    main()

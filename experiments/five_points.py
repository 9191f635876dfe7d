"""A line with 2 parameters or a curve with 7 through five points: which one generalizes?

python experiments/five_points.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn


class Polynomial(fn.Module):
    """A polynomial on [-1, 1] as a sum of Legendre polynomials."""

    degree: int
    weight: jax.Array | None = None

    def parameters(self, key):
        return {"weight": jnp.zeros(self.degree + 1)}

    def __call__(self, x, key=None):
        previous, current = jnp.ones_like(x), x
        value = self.weight[0] * previous + self.weight[1] * current
        for n in range(1, self.degree):
            previous, current = current, ((2 * n + 1) * x * current - n * previous) / (n + 1)
            value = value + self.weight[n + 1] * current
        return value


# 1. Five points around a line, and five others around the same line.
rng = np.random.RandomState(3)
x, x_valid = (a.astype(np.float32) for a in (np.linspace(-1, 1, 5), np.linspace(-0.8, 0.8, 5)))
y, y_valid = (np.float32(2 * a + 0.5 * rng.randn(5)) for a in (x, x_valid))

# 2. All are trained to convergence.
loss = fn.losses.supervised(fn.losses.squared_error)
train = fn.fit(loss, optax.lbfgs(), epochs=200, batch_size=5)
models = {}
print("degree  parameters  points each  training error  validation error")
for degree in (1, 2, 3, 4, 6):
    net = Polynomial(degree)
    run = train(net.init(jax.random.key(0)), (x, y), jax.random.key(0), (x_valid, y_valid))
    errors = run.history["train_loss"][-1], run.history["val_loss"][-1]
    print(
        f"{degree:6d}  {fn.count(net):10d}  {5 / fn.count(net):11.2f}  {errors[0]:14.4f}  {errors[1]:16.4f}"
    )
    models[f"degree {degree}"] = run.model

picture = Path("runs/five_points.png")
picture.parent.mkdir(exist_ok=True)
chosen = {name: models[name] for name in ("degree 1", "degree 6")}
fn.report.fitted_curves(chosen, (x, y), valid=(x_valid, y_valid))[0].figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

"""Does a model of more parameters than rows always do worse? Random features, narrow to very wide.

python experiments/double_descent.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import funcnet as fn

ROWS, FEATURES, NOISE = 40, 8, 0.5
WIDTHS = (3, 10, 20, 30, 40, 50, 80, 200, 600)


class RandomFeatures(fn.Module):
    """relu(x @ B) with a random B that is never trained, and a linear layer on it that is."""

    width: int
    fixed: fn.Buffer | None = None
    weight: jax.Array | None = None

    def parameters(self, key):
        drawn = jax.random.normal(key, (FEATURES, self.width))
        unit = drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)  # so that one rate suits every width
        return {"fixed": fn.Buffer(unit), "weight": jnp.zeros(self.width)}

    def __call__(self, x, key=None):
        return jax.nn.relu(x @ self.fixed.value) @ self.weight / self.width**0.5


# 1. A few noisy rows of a plane, and many without noise to judge by.
def draw(key, rows, noise):
    x = jax.random.normal(jax.random.fold_in(key, 0), (rows, FEATURES))
    y = x.sum(axis=1) / FEATURES**0.5
    return x, y + noise * jax.random.normal(jax.random.fold_in(key, 1), (rows,))


rows, valid_rows = draw(jax.random.key(0), ROWS, NOISE), draw(jax.random.key(1), 500, 0.0)

# 2. From zero weights, descent with momentum never leaves the span of the rows: where many weights fit all
#    rows, it ends at the shortest of them.
loss = fn.losses.supervised(fn.losses.squared_error)
optimizer = optax.sgd(0.8, momentum=0.99, nesterov=True)
train = fn.fit(loss, optimizer, epochs=8000, batch_size=ROWS, shuffle=False)
study = fn.study.capacity_curve(lambda width: (train, RandomFeatures(width)), WIDTHS, 10)
found = study(rows, jax.random.key(2), valid_rows)

print("width  training error  error on new rows  standard error")
for width, fitted, new, error in zip(
    WIDTHS, found.mean["loss"], found.mean["val_loss"], found.standard_error["val_loss"], strict=True
):
    print(f"{width:5d}  {fitted:14.5f}  {new:17.3f}  {error:14.3f}")

(axes,) = fn.report.learning_curve(found)
axes.axvline(ROWS, color="#666666", linestyle=":", linewidth=1.2)
axes.set(xlabel=f"width ({ROWS} rows)", ylabel="squared error")
picture = Path("runs/double_descent.png")
picture.parent.mkdir(exist_ok=True)
axes.figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

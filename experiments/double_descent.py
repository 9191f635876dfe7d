"""Is a model with more parameters than rows always worse? Random features, narrow to very wide.

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
    """relu(x @ B) with a fixed random B, followed by a trained linear layer."""

    width: int
    fixed: fn.Buffer | None = None
    weight: jax.Array | None = None

    def parameters(self, key):
        drawn = jax.random.normal(key, (FEATURES, self.width))
        # Unit columns, so that one learning rate suits every width.
        unit = drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)
        return {"fixed": fn.Buffer(unit), "weight": jnp.zeros(self.width)}

    def __call__(self, x, key=None):
        return jax.nn.relu(x @ self.fixed.value) @ self.weight / self.width**0.5


# 1. A few noisy training rows from a plane, and many validation rows without noise.
def draw(key, rows, noise):
    x = jax.random.normal(jax.random.fold_in(key, 0), (rows, FEATURES))
    y = x.sum(axis=1) / FEATURES**0.5
    return x, y + noise * jax.random.normal(jax.random.fold_in(key, 1), (rows,))


rows, valid_rows = draw(jax.random.key(0), ROWS, NOISE), draw(jax.random.key(1), 500, 0.0)

# 2. From zero weights, gradient descent with momentum stays in the span of the rows: among all weights that
#    fit every row, it converges to those of the smallest norm.
loss = fn.losses.supervised(fn.losses.squared_error)
optimizer = optax.sgd(0.8, momentum=0.99, nesterov=True)
train = fn.fit(loss, optimizer, epochs=8000, batch_size=ROWS, shuffle=False)
study = fn.study.capacity_curve(lambda width: (train, RandomFeatures(width)), WIDTHS, 10)
result = study(rows, jax.random.key(2), valid_rows)

print("width  training error  error on new rows  standard error")
for width, train_error, new_error, error in zip(
    WIDTHS, result.mean["loss"], result.mean["val_loss"], result.standard_error["val_loss"], strict=True
):
    print(f"{width:5d}  {train_error:14.5f}  {new_error:17.3f}  {error:14.3f}")

(axes,) = fn.report.learning_curve(result)
axes.axvline(ROWS, color="#666666", linestyle=":", linewidth=1.2)
axes.set(xlabel=f"width ({ROWS} rows)", ylabel="squared error")
picture = Path("runs/double_descent.png")
picture.parent.mkdir(exist_ok=True)
axes.figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

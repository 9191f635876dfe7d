"""Which loss for which task? Losses by residual and by predicted probability.

python experiments/loss_shapes.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

# 1. Absolute and squared error differ in their response to an outlier: one of 100 points is far off.
x = jnp.linspace(-1.0, 1.0, 100)[:, None]
y = (2 * x[:, 0] + 0.1 * jax.random.normal(jax.random.key(0), (100,))).at[-1].set(-30.0)
net = fn.models.LinearRegression(1)
print("loss            slope (the truth is 2, and one point of 100 is off by 32)")
for name, error in {"squared": fn.losses.squared_error, "absolute": fn.metrics.absolute_error}.items():
    rate = optax.cosine_decay_schedule(0.05, 2000)
    train = fn.fit(fn.losses.supervised(error), optax.adam(rate), epochs=2000, batch_size=100)
    slope = train(net.init(jax.random.key(0)), (x, y), jax.random.key(1)).model.linear.weight[0]
    print(f"{name:14s}  {slope:.3f}")

# 2. The 0-1 loss is the goal, but its gradient is zero; the logistic loss has a gradient everywhere.


def zero_one(logit, target):
    return 1 - fn.metrics.accuracy(logit, target)


print("\np of the true class   0-1 loss   logistic loss   gradient of each by the logit")
for p in (0.05, 0.4, 0.6, 0.95):
    logit = jnp.array(np.log(p / (1 - p)), jnp.float32)
    values = zero_one(logit, 1), fn.losses.binary_cross_entropy(logit, 1)
    gradients = jax.grad(zero_one)(logit, 1), jax.grad(fn.losses.binary_cross_entropy)(logit, 1)
    print(f"{p:19.2f}  {values[0]:9.0f}  {values[1]:14.4f}   {gradients[0]:8.4f}  {gradients[1]:8.4f}")

figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
regression = {"absolute": fn.metrics.absolute_error, "squared": fn.losses.squared_error}
classification = {"0-1": zero_one, "logistic": fn.losses.binary_cross_entropy}
fn.report.loss_curves(regression, axes[0])
fn.report.loss_curves(classification, axes[1], over="probability")
fn.report.loss_curves(
    {"cross-entropy": fn.losses.binary_cross_entropy}, axes[2], over="probability", targets=(1, 0)
)
picture = Path("runs/loss_shapes.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

"""A network as a class with the activation as an argument: which one is best?

python experiments/mlp_class.py
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn


class TwoLayer(fn.Module):
    """2 - 10 - 1, with an activation in between."""

    hidden: fn.Module = fn.Linear(2, 10)
    out: fn.Module = fn.Linear(10, "scalar")
    activation: Callable = jax.nn.sigmoid

    def __call__(self, x, key=None):
        return self.out(self.activation(self.hidden(x)))


# 1. Two classes of points. Ten epochs are few at this learning rate, so train for a hundred, too.
data = fn.data.two_classes(flip_y=0.1).data
train_rows, valid_rows, test_rows = fn.data.split(data, (70, 15, 15), None)
loss = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(0.005), epochs=100, batch_size=16, shuffle=False)

# 2. Twenty runs per activation.
keys = jax.random.split(jax.random.key(0), 20)
print(f"{fn.count(TwoLayer())} parameters\n")
print("activation  loss after 10 epochs  after 100  valid accuracy after 10  after 100")
curves = {}
for activation in (jax.nn.sigmoid, jax.nn.tanh, jax.nn.relu):
    net = TwoLayer(activation=activation)
    history = jax.vmap(lambda key, net=net: train(net.init(key), train_rows, key, valid_rows))(keys).history
    curves[activation.__name__] = history["val_loss"]
    nats, right = (jnp.median(history[name], axis=0) for name in ("train_loss", "val_accuracy"))
    print(
        f"{activation.__name__:10s}  {nats[9]:20.4f}  {nats[99]:9.4f}  {right[9]:23.3f}  {right[99]:9.3f}",
        flush=True,
    )

picture = Path("runs/mlp_class.png")
picture.parent.mkdir(exist_ok=True)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
fn.report.curves(curves, axes, ylabel="validation loss (nats)")
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

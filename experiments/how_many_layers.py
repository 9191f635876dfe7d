"""One, two or three layers: how accurate, how overfitted, how large do weights grow?

python experiments/how_many_layers.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

EPOCHS = 12

# 1. Two tables of images: all of digits (8 by 8 pixels), and 12,000 of the training rows of Fashion-MNIST.
digits = fn.data.load("digits")
fashion = fn.data.load("fashion-mnist")
tables = {
    "digits": fn.data.split(digits.data, (0.8, 0.2), jax.random.key(0), stratify=digits.data[:][1]),
    "fashion-mnist": fn.data.split(fashion.data[:12000], (0.8, 0.2), jax.random.key(0)),
}

# 2. The loss also logs the largest absolute weight of each layer.
supervised = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


def loss(model, example, key):
    value, logged = supervised(model, example, key)
    sizes = {f"weight {i + 1}": jnp.abs(layer.weight).max() for i, layer in enumerate(model.layers)}
    return value, logged | sizes


train = fn.fit(loss, optax.adam(1e-3), epochs=EPOCHS, batch_size=32)

# 3. Each depth with each activation.
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
print("table          layers  activation  train loss  valid loss  valid accuracy  max |w| by layer")
for (name, parts), panel in zip(tables.items(), axes, strict=True):
    scaler = fn.data.Scaler.fit(parts[0], "minmax", per_feature=False)
    train_rows, valid_rows = map(scaler.transform, parts)
    inputs = train_rows[0][0].shape[0]
    curves = {}
    for hidden in ((), (128,), (128, 64)):
        for activation in (jax.nn.relu, jax.nn.tanh, jax.nn.sigmoid)[: 3 if hidden else 1]:
            init = "he_normal" if activation is jax.nn.relu else "glorot_normal"
            net = fn.MLP((inputs, *hidden, 10), activation=activation, weight_init=init)
            history = train(net.init(jax.random.key(1)), train_rows, jax.random.key(2), valid_rows).history
            sizes = {n: history[n] for n in history if n.startswith("weight")}
            shown = activation.__name__ if hidden else "-"
            print(
                f"{name:13s}  {len(hidden) + 1:6d}  {shown:10s}  {history['train_loss'][-1]:10.4f}  "
                f"{history['val_loss'][-1]:10.4f}  {history['val_accuracy'][-1]:14.4f}  "
                + " ".join(f"{values[-1]:.2f}" for values in sizes.values()),
                flush=True,
            )
            if activation is jax.nn.relu:
                layers = len(hidden) + 1
                curves |= {f"layer {n[-1]} of {layers}": values for n, values in sizes.items()}
    fn.report.curves(curves, panel, ylabel="largest |weight|", title=name)

picture = Path("runs/how_many_layers.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

"""Can a network of coordinates learn an image? ReLU, Fourier features and sines on one photograph.

python experiments/fit_an_image.py
"""

import time
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from sklearn.datasets import load_sample_image

import funcnet as fn

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# 1. A crop of scikit-learn's photograph of a temple, 64 x 64, grey values in 0 .. 1. The networks
#    are trained on every other pixel of each row and column (1 in 4) and predict all the others.
photograph = load_sample_image("china.jpg").mean(axis=2) / 255
image = photograph[:384, 128:512].reshape(64, 6, 64, 6).mean(axis=(1, 3)).astype(np.float32)
ticks = np.linspace(-1, 1, 64, dtype=np.float32)
points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1)
known = (points[::2, ::2].reshape(-1, 2), image[::2, ::2].reshape(-1))
hidden = np.ones((64, 64), bool)
hidden[::2, ::2] = False
unknown = (points[hidden], image[hidden])

# 2. Networks of about the same number of parameters, from (row, column) to a grey value.
nets = {
    "ReLU MLP": fn.MLP((2, 96, 96, 96, "scalar")),
    "Fourier, scale 0.5": fn.models.FourierMLP((2, 80, 80, "scalar"), num_frequencies=64, scale=0.5),
    "Fourier, scale 2": fn.models.FourierMLP((2, 80, 80, "scalar"), num_frequencies=64, scale=2.0),
    "Fourier, scale 10": fn.models.FourierMLP((2, 80, 80, "scalar"), num_frequencies=64, scale=10.0),
    "SIREN, omega 10": fn.models.SIREN((2, 96, 96, 96, "scalar"), omega=10.0),
    "SIREN, omega 30": fn.models.SIREN((2, 96, 96, 96, "scalar"), omega=30.0),
}
loss = fn.losses.supervised(fn.losses.squared_error)


def psnr(error: jax.Array) -> float:
    """Peak signal-to-noise ratio in decibels, for a peak of 1."""
    return float(-10 * np.log10(error))


# 3. The same training function for all: 600 steps on 256 of the 1024 known pixels.
train = fn.fit(loss, optax.adam(optax.cosine_decay_schedule(2e-3, 600)), epochs=150, batch_size=256)
print(f"{'network':20}{'parameters':>10}{'PSNR learned':>14}{'PSNR between':>14}{'seconds':>9}")
pictures = {"image": image}
for name, net in nets.items():
    began = time.perf_counter()
    model = train(net.init(jax.random.key(0)), known, jax.random.key(1)).model
    learned, between = (psnr(fn.evaluate(loss, model, rows)["loss"]) for rows in (known, unknown))
    seconds = time.perf_counter() - began
    print(f"{name:20}{fn.count(model):10}{learned:11.1f} dB{between:11.1f} dB{seconds:9.1f}")
    pictures[name] = np.asarray(fn.predict(model, points.reshape(-1, 2))).reshape(64, 64)

# 4. The picture.
figure, axes = plt.subplots(1, len(pictures), figsize=(3 * len(pictures), 3.3), layout="constrained")
for ax, (name, pixels) in zip(axes, pictures.items(), strict=True):
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name)
    ax.axis("off")
picture = Path("runs/fit_an_image.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=100)
print(f"pictures in {picture}")

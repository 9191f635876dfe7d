"""What does a network learn from images without labels? SimCLR on handwritten digits, then a linear probe.

python experiments/contrastive_learning.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression

import funcnet as fn

TEMPERATURE, BATCH, EPOCHS, COPIES = 0.2, 256, 10, 20


# 1. Two views of an image: shifted by up to a pixel, brighter or darker, with noise. Each image is used
#    COPIES times, with new views.
def make_views(images, copies, seed):
    rng = np.random.default_rng(seed)
    images = np.tile(images.reshape(-1, 8, 8), (copies, 1, 1))

    def view():
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
        down, right = rng.integers(0, 3, (2, len(images)))
        rows, columns = down[:, None] + np.arange(8), right[:, None] + np.arange(8)
        moved = padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
        moved = moved * rng.uniform(0.6, 1.4, (len(images), 1, 1)) + rng.normal(0, 0.2, images.shape)
        return moved.reshape(-1, 64).astype(np.float32)

    return view(), view()


# 2. The job: encoder and projector with BatchNorm, the loss of a whole batch, the training.
class SimCLR(fn.Module):
    encoder: fn.Module = fn.Sequential(
        fn.Linear(64, 256, use_bias=False), fn.layers.BatchNorm(256), jax.nn.relu, fn.Linear(256, 128)
    )
    projector: fn.Module = fn.Sequential(
        fn.Linear(128, 128, use_bias=False), fn.layers.BatchNorm(128), jax.nn.relu, fn.Linear(128, 64)
    )

    def __call__(self, x, key=None):
        return self.projector(jax.nn.relu(self.encoder(x, key=key)), key=key)


@fn.losses.batchwise
def nt_xent(model, batch, weight, key):
    z = jnp.concatenate([model(view, key=key) for view in batch])
    z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    weight = jnp.concatenate([weight, weight])
    others = (weight > 0)[None] & ~jnp.eye(len(z), dtype=bool)  # rows of weight 0 only pad a short batch
    log_p = jax.nn.log_softmax(jnp.where(others, z @ z.T / TEMPERATURE, -jnp.inf))
    of_partner = log_p[jnp.arange(len(z)), jnp.roll(jnp.arange(len(z)), len(z) // 2)]
    return -jnp.sum(jnp.where(weight > 0, weight * of_partner, 0)) / jnp.sum(weight)


def train(model, views, key, epochs=EPOCHS):
    return fn.fit(nt_xent, optax.adam(1e-3), epochs=epochs, batch_size=BATCH)(model, views, key)


# 3. The probe: a linear classifier of the representation, fitted to a few labelled rows; 20 draws of them.
def probe(features, labels, num_labelled):
    rng = np.random.default_rng(2)
    draws = [rng.permutation(len(labels) - 500)[:num_labelled] for _ in range(20)]
    scores = [
        LogisticRegression(max_iter=2000)
        .fit(features[rows], labels[rows])
        .score(features[-500:], labels[-500:])
        for rows in draws
    ]
    return np.mean(scores)


if __name__ == "__main__":
    data = fn.data.take(fn.data.load("digits").data, np.random.default_rng(0).permutation(1797))
    pixels, labels = (np.asarray(a) for a in data[:])
    pixels = pixels / pixels.max()
    model = SimCLR().init(jax.random.key(0))
    run = train(model, make_views(pixels[:-500], COPIES, seed=1), jax.random.key(1))
    print("loss by epoch", [round(float(value), 4) for value in run.history["loss"]])
    print("labelled rows  raw pixels  untrained encoder  SimCLR")
    features = [np.asarray(fn.predict(m.encoder, pixels)) for m in (model, run.model)]
    for n in (20, 50, 100):
        print(f"{n:13d}  " + "  ".join(f"{probe(f, labels, n):.3f}" for f in (pixels, *features)))

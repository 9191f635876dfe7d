"""Does a variational autoencoder use its latents, and does annealing the KL term help?

python experiments/vae.py
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

LATENTS = 8

# 1. Digits of 8 x 8 pixels with ink from 0 to 1.
digits = np.asarray(fn.data.load("digits").data[:][0]) / 16.0
train_rows, test_rows = digits[:1_400], digits[1_400:]


# 2. The model, and the loss of one image: nats to encode its pixels and its latents (the negative ELBO).
class VAE(fn.Module):
    encoder: fn.Module = fn.MLP((64, 64, 2 * LATENTS))
    decoder: fn.Module = fn.MLP((LATENTS, 64, 64))

    def __call__(self, image: jax.Array, key: Any = None) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, log_variance = jnp.split(self.encoder(image), 2)
        noise = 0.0 if key is None else jax.random.normal(key, mean.shape)
        return self.decoder(mean + jnp.exp(log_variance / 2) * noise), mean, log_variance


def make_loss(beta: Any) -> Any:
    def loss(model: VAE, image: jax.Array, key: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, mean, log_variance = model(image, key)
        pixels = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, image))
        kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
        return pixels + beta * kl, {"pixels": pixels, "kl": kl}

    return loss


# 3. Train with a constant weight, and with one that rises from 0 to 1 in the first half.
def train_vae(beta: optax.Schedule, model: VAE, images: jax.Array, epochs: int) -> fn.Run:
    loss = fn.losses.scheduled(make_loss, beta=beta)
    train = fn.fit(loss, optax.adam(2e-3), epochs=epochs, batch_size=100)
    return train(model, images, jax.random.key(1), valid=test_rows)


def active(model: VAE, images: jax.Array) -> int:
    """Latents whose mean varies between images: the others encode nothing (Burda et al., 2016)."""
    means = jax.vmap(lambda image: model(image)[1])(images)
    return int(jnp.sum(jnp.var(means, axis=0) > 0.01))


def main(epochs: int = 100) -> None:
    steps = epochs * 14
    schedules = {
        "constant": optax.constant_schedule(1.0),
        "annealed": optax.linear_schedule(0.0, 1.0, steps // 2),
    }
    print(f"{'weight of KL':14}{'nats':>8}{'pixels':>8}{'KL':>7}{'active latents':>16}{'seconds':>9}")
    for name, beta in schedules.items():
        began = time.perf_counter()
        run = train_vae(beta, VAE().init(jax.random.key(0)), train_rows, epochs)
        keyed = functools.partial(make_loss(1.0), run.model)
        keys = jax.random.split(jax.random.key(2), len(test_rows))
        nats, parts = jax.vmap(keyed)(test_rows, keys)
        seconds = time.perf_counter() - began
        print(
            f"{name:14}{nats.mean():8.2f}{parts['pixels'].mean():8.2f}{parts['kl'].mean():7.2f}"
            f"{active(run.model, test_rows):13} / {LATENTS}{seconds:9.1f}"
        )


if __name__ == "__main__":
    main()

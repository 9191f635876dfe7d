"""Which choices let a generative adversarial network find all modes: order, updates, or the first weights?

python experiments/gan.py
"""

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

NOISE, ROWS = 8, 4_096
SMALL = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's first weights

# 1. Points around eight places on a circle (Metz et al., 2017).
ANGLES = np.arange(8) * np.pi / 4
PLACES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
rng = np.random.default_rng(0)
points = PLACES[rng.integers(8, size=ROWS)] + 0.1 * rng.normal(size=(ROWS, 2))
points = points.astype(np.float32)


# 2. The players. Each sees the whole model, and its gradient is that of its own part.
def players(key: jax.Array, weight_init: Any = SMALL) -> dict[str, fn.Module]:
    disc_key, gen_key = jax.random.split(key)
    return {
        "disc": fn.MLP((2, 64, 64, "scalar"), weight_init=weight_init).init(disc_key),
        "gen": fn.MLP((NOISE, 64, 64, 2), weight_init=weight_init).init(gen_key),
    }


def generate(model: Mapping[str, Any], key: jax.Array) -> jax.Array:
    return model["gen"](jax.random.normal(key, (NOISE,)))


def disc_loss(model: Mapping[str, Any], point: jax.Array, key: Any) -> jax.Array:
    real, fake = model["disc"](point), model["disc"](generate(model, key))
    loss = fn.losses.binary_cross_entropy
    return loss(real, jnp.ones(())) + loss(fake, jnp.zeros(()))


def gen_loss(model: Mapping[str, Any], point: jax.Array, key: Any) -> jax.Array:
    return fn.losses.binary_cross_entropy(model["disc"](generate(model, key)), jnp.ones(()))


def train_gan(model: Any, data: Any, epochs: int, **settings: Any) -> fn.Run:
    game = fn.losses.players(disc=disc_loss, gen=gen_loss, **settings)
    optimizers = {"disc": optax.adam(1e-3, b1=0.5), "gen": optax.adam(1e-3, b1=0.5)}
    train = fn.fit(game, optimizers, epochs=epochs, batch_size=256, ema=0.995)
    return train(model, data, jax.random.key(1))


# 3. How many places get at least 2 % of the points, and how many points lie within three deviations of one.
def count_places(model: Any) -> tuple[int, float]:
    made = jax.vmap(generate, in_axes=(None, 0))(model, jax.random.split(jax.random.key(2), 2_000))
    distances = np.linalg.norm(np.asarray(made)[:, None] - PLACES, axis=-1)
    counts = np.bincount(distances.argmin(axis=1), minlength=8)
    return int((counts >= 40).sum()), float((distances.min(axis=1) < 0.3).mean())


def main(epochs: int = 400) -> None:
    print(f"{'updates':30}{'disc loss':>10}{'gen loss':>10}{'places':>8}{'near one':>10}{'seconds':>9}")
    games: dict[str, dict[str, Any]] = {
        "in turn": {},
        "in turn, He's first weights": {},
        "together": {"order": "together"},
        "in turn, 3 of disc, 1 of gen": {"updates": {"disc": 3}},
    }
    for name, settings in games.items():
        began = time.perf_counter()
        model = players(jax.random.key(0), "he_normal" if "He" in name else SMALL)
        run = train_gan(model, points, epochs, **settings)
        places_hit, near = count_places(run.model)
        losses = run.history["disc_loss"][-1], run.history["gen_loss"][-1]
        seconds = time.perf_counter() - began
        print(f"{name:30}{losses[0]:10.3f}{losses[1]:10.3f}{places_hit:4} / 8{near:10.3f}{seconds:9.1f}")


if __name__ == "__main__":
    main()

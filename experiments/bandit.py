"""How much must a bandit explore? A contextual bandit, trained by `fn.step` while it plays.

    python experiments/bandit.py

In each round 16 visitors arrive, each described by eight numbers, and the learner shows each of them one of
four articles. It sees the reward of the one it chose, and learns to predict rewards from that; with
probability epsilon it shows any article. Regret is the reward that the best article would have added. The
play is one `jax.lax.scan`, and twenty learners for each epsilon are one `jax.vmap`.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnet as fn

VISITORS, FEATURES, ARTICLES = 16, 8, 4
NET = fn.MLP((FEATURES, 32, ARTICLES))


class Rounds(NamedTuple):
    """What chance decides in each round, drawn beforehand: [rounds, visitors, ...]."""

    context: jax.Array
    coin: jax.Array
    """Uniform in [0, 1): a learner explores if it is below epsilon."""
    other: jax.Array
    """The article that is shown then."""
    noise: jax.Array


def draw_rounds(key, count):
    keys, shape = jax.random.split(key, 4), (count, VISITORS)
    return Rounds(
        jax.random.normal(keys[0], (*shape, FEATURES)),
        jax.random.uniform(keys[1], shape),
        jax.random.randint(keys[2], shape, 0, ARTICLES),
        0.3 * jax.random.normal(keys[3], shape),
    )


TASTE = np.random.default_rng(0).normal(size=(FEATURES, ARTICLES)).astype(np.float32) / FEATURES**0.5


def mean_rewards(context):
    """The expected reward of each article [visitors, articles]: not linear in the context."""
    return jnp.sin(2.0 * context @ TASTE)


# The job, to be compared with peers/bandit.py.
def reward_loss(model, example, key):
    context, article, reward = example
    return (model(context)[article] - reward) ** 2


def play(model, rounds, epsilon, key, rate=1e-2):
    """The mean regret of a visitor in each round."""
    optimizer = optax.adam(rate)
    step = fn.step(reward_loss, optimizer)

    def play_round(state, drawn):
        best_guess = jnp.argmax(state.model(drawn.context), axis=-1)
        article = jnp.where(drawn.coin < epsilon, drawn.other, best_guess)
        expected = mean_rewards(drawn.context)
        chosen = jnp.take_along_axis(expected, article[:, None], axis=-1)[:, 0]
        state, _ = step(state, (drawn.context, article, chosen + drawn.noise))
        return state, jnp.mean(expected.max(axis=-1) - chosen)

    _, regret = jax.lax.scan(play_round, fn.TrainState.create(model, optimizer, key), rounds)
    return regret


def main():
    epsilons, learners = jnp.array([0.0, 0.02, 0.1, 0.3, 1.0]), 20
    keys = jax.random.split(jax.random.key(0), learners)

    def one_learner(key, epsilon):
        return play(NET.init(key), draw_rounds(jax.random.fold_in(key, 1), 1000), epsilon, key)

    over_seeds = jax.vmap(one_learner, in_axes=(0, None))
    regret = np.asarray(jax.jit(jax.vmap(over_seeds, in_axes=(None, 0)))(keys, epsilons))
    print("epsilon  regret of a visitor in rounds 1-100  901-1000  all (standard error)")
    for epsilon, values in zip(epsilons, regret, strict=True):
        each = values.mean(axis=1)
        error = each.std(ddof=1) / learners**0.5
        early, late = values[:, :100].mean(), values[:, -100:].mean()
        print(f"{epsilon:7.2f}  {early:35.3f}  {late:8.3f}  {each.mean():.3f} ({error:.3f})")

    figure = Figure(figsize=(6, 4), layout="constrained")
    curves = {f"epsilon {e:.2f}": v.mean(axis=0).cumsum() for e, v in zip(epsilons, regret, strict=True)}
    fn.report.curves(curves, figure.subplots(), xlabel="round", ylabel="regret of a visitor, summed")
    picture = Path("runs/bandit.png")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=150)
    print(f"picture in {picture}")


if __name__ == "__main__":
    main()

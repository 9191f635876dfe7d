"""Does a network understand addition long after it has learned its rows by heart?

    python experiments/grokking.py

An embedding and an MLP on sums modulo 47: 677 pairs are training rows, 451 are not. Five runs, full-batch
AdamW.

With weight decay it does, as Power et al. (2022) found: all runs know their training rows after 300
steps, with an accuracy of 0.00 on the others, and reach 0.95 there after 3,050 to 5,150 steps with a
decay of 2, and after 4,250 to 5,500 with 1. Without decay the accuracy on the others is at most 0.01
within 10,000 steps; the paper saw decay help most, and networks that generalize without it.

Source: Power, Burda, Edwards, Babuschkin, Misra, "Grokking: generalization beyond overfitting on small
algorithmic datasets", 2022.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

PRIME, SHARE, RUNS = 47, 0.6, 5
STEPS, EVAL_EVERY = 10_000, 50
DECAYS = (0.0, 1.0, 2.0)

# 1. All sums a + b modulo a prime; some of them are training rows. Each pair once: the network adds its two
#    vectors, so that (b, a) would be no new question.
a, b = np.triu_indices(PRIME)
table = np.stack([a, b], axis=1), (a + b) % PRIME


class AdditionNet(fn.Module):
    """Embeds both numbers with the same vectors, and classifies their sum by an MLP."""

    embedding: fn.Module = fn.layers.Embedding(PRIME, 64)
    mlp: fn.Module = fn.MLP((64, 128, PRIME))

    def __call__(self, x, key=None):
        return self.mlp(self.embedding(x).sum(axis=-2))


# 2. Full-batch AdamW, all runs and decays as one program: weight decay is a traced setting. Each run has
#    its own training rows and start, the same for all decays.
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
count = round(SHARE * len(a))


def history_of(key, decay):
    rows_key, init_key, run_key = jax.random.split(key, 3)
    order = jax.random.permutation(rows_key, len(a))
    rows, others = fn.data.take(table, order[:count]), fn.data.take(table, order[count:])
    optimizer = optax.adamw(1e-3, b2=0.98, weight_decay=decay)
    train = fn.fit(loss, optimizer, epochs=STEPS, batch_size=count, shuffle=False, eval_every=EVAL_EVERY)
    history = train(AdditionNet().init(init_key), rows, run_key, others).history
    return history["accuracy"], history["val_accuracy"]


members = jax.vmap(history_of, in_axes=(0, None))
keys = jax.random.split(jax.random.key(0), RUNS)
program = jax.jit(lambda decays: jax.lax.map(lambda decay: members(keys, decay), decays))
train_accuracy, test_accuracy = (
    np.asarray(accuracy)[:, :, EVAL_EVERY - 1 :: EVAL_EVERY] for accuracy in program(jnp.array(DECAYS))
)
steps = np.arange(EVAL_EVERY, STEPS + 1, EVAL_EVERY)


# 3. When is a level reached?
def first_step(accuracy, level):
    """The first step at which each run reaches a level; infinite if it never does."""
    reached = accuracy >= level
    return np.where(reached.any(axis=1), steps[reached.argmax(axis=1)], np.inf)


def show(values):
    return ", ".join("never" if np.isinf(value) else f"{value:.0f}" for value in values)


print(f"sums modulo {PRIME}: {count} training rows, {len(a) - count} others; {RUNS} runs, {STEPS} steps")
for i, decay in enumerate(DECAYS):
    learned, understood = first_step(train_accuracy[i], 0.99), first_step(test_accuracy[i], 0.95)
    print(f"weight decay {decay}")
    print(f"  training accuracy 0.99 after steps {show(learned)}")
    print("  accuracy on the others when it is reached: ", end="")
    reached = zip(test_accuracy[i], learned, strict=True)
    print(", ".join(f"{one[steps == step][0]:.2f}" for one, step in reached if np.isfinite(step)))
    print(f"  accuracy 0.95 on the others after steps {show(understood)}")
    print(f"  at the end: {', '.join(f'{value:.2f}' for value in test_accuracy[i, :, -1])}")

figure, panels = plt.subplots(1, len(DECAYS), figsize=(13, 3.8), layout="constrained", sharey=True)
for i, (axes, decay) in enumerate(zip(panels, DECAYS, strict=True)):
    curves = {"training rows": train_accuracy[i], "other rows": test_accuracy[i]}
    fn.report.curves(curves, axes, x=steps, xlabel="step", ylabel="accuracy")
    axes.set(xscale="log", title=f"weight decay {decay}")
picture = Path("runs/grokking.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

"""One network, two questions: which tickets are urgent, and which department answers them?

python experiments/two_heads.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

WORDS, TAGS, DEPARTMENTS, ROWS, BATCH, EPOCHS = 200, 12, 4, 3000, 32, 5


# 1. Tickets: the words of a title and of a text, tags, and what they are about. In 2 % of them the
#    priority is wrong.
def make_tickets(rows, seed):
    rng = np.random.default_rng(seed)
    department = rng.integers(0, DEPARTMENTS, rows)
    text = rng.integers(0, WORDS, (rows, 30))
    of_department = rng.random((rows, 30)) < 0.2  # 50 words of the vocabulary belong to each department
    text = np.where(of_department, 50 * department[:, None] + rng.integers(0, 50, (rows, 30)), text)
    title = rng.integers(0, WORDS, (rows, 8))
    tags = (rng.random((rows, TAGS)) < 0.2).astype(np.float32)
    urgent = (title < 10).sum(1) + tags[:, 0] + tags[:, 1] > 1
    priority = (urgent ^ (rng.random(rows) < 0.02)).astype(int)
    x = {"title": title, "text": text, "tags": tags}
    return x, {"priority": priority, "department": department}


# 2. The job: a network with three inputs and two outputs, one loss for each output, the training.
class Tickets(fn.Module):
    title: fn.Module = fn.layers.Embedding(WORDS, 32)
    text: fn.Module = fn.layers.Embedding(WORDS, 32)
    priority: fn.Module = fn.Linear(64 + TAGS, "scalar")
    department: fn.Module = fn.Linear(64 + TAGS, DEPARTMENTS)

    def __call__(self, x, key=None):
        title, text = self.title(x["title"]).mean(-2), self.text(x["text"]).mean(-2)
        features = jnp.concatenate([title, text, x["tags"]], axis=-1)
        return {"priority": self.priority(features), "department": self.department(features)}


loss = fn.losses.supervised(
    {"priority": fn.losses.binary_cross_entropy, "department": fn.losses.cross_entropy},
    shares={"priority": 1.0, "department": 0.2},
    class_weight={"priority": {1: 3.0}},
    accuracy=fn.metrics.accuracy,
    auc={"priority": fn.metrics.roc_auc},
    recall={"department": fn.metrics.recall(average=None)},
)


def train(model, data, key, valid, epochs=EPOCHS):
    return fn.fit(loss, optax.adam(1e-2), epochs=epochs, batch_size=BATCH)(model, data, key, valid)


if __name__ == "__main__":
    data, valid = make_tickets(ROWS, seed=0), make_tickets(1000, seed=1)
    print(f"urgent: {data[1]['priority'].mean():.3f} of the tickets")
    run = train(Tickets().init(jax.random.key(0)), data, jax.random.key(1), valid)
    for name, values in run.history.items():
        print(f"{name:30s}", *[f"{float(value):.4f}" for value in values])

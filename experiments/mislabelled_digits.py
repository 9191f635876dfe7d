"""Which labels are wrong? Rows with the largest gradients early in training.

python experiments/mislabelled_digits.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

# 1. One label in twelve is replaced by another. Training does not know which.
digits = fn.data.load("digits")
parts = fn.data.split(digits.data, (0.8, 0.2), jax.random.key(0), stratify=digits.data[:][1])
scaler = fn.data.Scaler.fit(parts[0])
(x, truth), test_rows = scaler.transform(parts[0])[:], scaler.transform(parts[1])
rng = np.random.RandomState(0)
wrong = np.zeros(len(x), int)
wrong[rng.choice(len(x), len(x) // 12, replace=False)] = 1
labels = np.where(wrong == 1, (truth + rng.randint(1, 10, len(x))) % 10, truth).astype(np.int32)
k = int(wrong.sum())
rows = (x, labels)

# 2. Ten runs in one program, for a given number of epochs.
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
net = fn.MLP((64, 64, 10))
keys = jax.random.split(jax.random.key(1), 10)


def models_after(epochs):
    if epochs == 0:
        return jax.vmap(net.init)(keys)
    train = fn.fit(loss, optax.adam(3e-3), epochs=epochs, batch_size=32)
    return jax.vmap(train, in_axes=(0, None, 0))(jax.vmap(net.init)(keys), rows, keys).model


# 3. Score each row by the norm of its gradient (Paul, Ganguli, Dziugaite, "Deep learning on a data diet",
# 2021) and, for comparison, by its loss.
def one(model, example):
    return loss(model, example, None)[0]


grads_of = fn.transform.per_example_grads(one)


@jax.jit
def scores(models):
    norms = lambda model: jax.vmap(optax.tree.norm)(grads_of(model, rows))  # noqa: E731
    losses = lambda model: jax.vmap(one, (None, 0))(model, rows)  # noqa: E731
    gradient_norms, values = jax.lax.map(norms, models), jax.vmap(losses)(models)
    return jnp.stack([gradient_norms.mean(0), gradient_norms[0], values.mean(0), values[0]])


NAMES = (
    "gradient, mean of ten models",
    "gradient, one model",
    "loss, mean of ten models",
    "loss, one model",
)
epochs = (0, 1, 2, 4, 8, 16, 32, 64)
hits = {name: [] for name in NAMES}
print(
    f"{k} of {len(x)} labels are wrong: precision among the {k} rows ranked highest, and area under the ROC"
)
print("        gradient                    loss")
print("epochs  ten models    one model     ten models    one model     test accuracy")
for count in epochs:
    models = models_after(count)
    ranking_scores = scores(models)
    cells = []
    for name, score in zip(NAMES, ranking_scores, strict=True):
        hits[name].append(wrong[np.argsort(-score)[:k]].mean())
        cells.append(f"{hits[name][-1]:.3f}, {fn.metrics.roc_auc(score, wrong):.3f}")
    right = jax.vmap(lambda model: fn.evaluate(loss, model, test_rows)["accuracy"])(models).mean()
    print(f"{count:6d}  {'  '.join(cells)}  {right:13.3f}", flush=True)
    if count == 4:
        order = np.argsort(-ranking_scores[0])

# 4. The picture: precision by epoch, the rows ranked highest, and the highest with correct labels.
figure = plt.figure(figsize=(13, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.9))
ax = left.subplots()
fn.report.curves(
    hits,
    ax,
    x=np.arange(len(epochs)),
    xlabel="epochs of training",
    ylabel=f"precision among the {k} highest",
)
ax.set_xticks(range(len(epochs)), epochs)
groups = {
    "ranked highest after 4 epochs": order,
    "highest with a correct label": order[wrong[order] == 0],
}
images = parts[0][:][0].reshape(-1, 8, 8)
for panel, (title, chosen) in zip(right.subfigures(2, 1), groups.items(), strict=True):
    panel.suptitle(title, fontsize=10)
    for place, row in zip(panel.subplots(1, 9), chosen, strict=False):
        place.imshow(images[row], cmap="gray_r")
        place.set_axis_off()
        rank = int(np.flatnonzero(order == row)[0]) + 1
        caption = f"label {labels[row]}" + (f", is {truth[row]}" if wrong[row] else "")
        place.set_title(f"{rank}.\n{caption}", fontsize=9)
picture = Path("runs/mislabelled_digits.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")

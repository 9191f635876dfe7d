"""The picture of README.md, drawn anew.

make pictures
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# Iris by two of its four lengths, so that the whole decision can be seen.
iris = fn.data.load("iris")
x, species = iris.data[:]
petals = fn.data.Dataset((x[:, 2:], species))
train_rows, valid_rows = fn.data.split(petals, (0.7, 0.3), jax.random.key(0), stratify=species)

loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
stopping = fn.EarlyStopping(patience=30)
train = fn.fit(loss, optax.adam(3e-3), epochs=300, batch_size=16, stopping=stopping)
net = fn.MLP((2, 32, 32, 3), activation=jax.nn.tanh)
run = train(net.init(jax.random.key(1)), train_rows, jax.random.key(2), valid_rows)

figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
run.plot(axes[:2])
names = {"feature_names": iris.feature_names[2:], "class_names": iris.class_names}
fn.report.decision_surface(run.model, petals, axes[2], **names)

picture = Path(__file__).parent.parent / "docs" / "pictures" / "iris.png"
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=110)
print(f"{run.outcome.value} Picture in {picture.relative_to(Path.cwd())}")

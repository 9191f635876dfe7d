"""What does an ensemble predict where it has no training data?

    python experiments/uncertainty.py

A curve with a gap in its data, and fifty networks, each with its own initial weights and order of rows,
trained in one program. They agree near the training rows and disagree in the gap. Beyond the ends they also
disagree, but much less than their error: all ReLU networks extrapolate in straight lines.
"""

from pathlib import Path

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnet as fn

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-1.0, -0.3, 40), rng.uniform(0.3, 1.0, 40)])
y = np.sin(5 * x) + 0.1 * rng.standard_normal(len(x))
data = (x[:, None].astype(np.float32), y.astype(np.float32))

loss = fn.losses.supervised(fn.losses.squared_error)
train = fn.fit(loss, optax.adam(5e-3), epochs=300, batch_size=16)
net = fn.MLP((1, 64, 64, "scalar"), activation=jax.nn.relu)
run = fn.study.ensemble(train, 50)(net, data, jax.random.key(0))

for place, at in {"among the rows": 0.6, "in the gap": 0.0, "beyond the end": 1.5}.items():
    point = np.array([[at]], np.float32)
    mean, spread = float(run.model(point)[0]), float(run.model.spread(point)[0])
    print(f"{place:15} x = {at}: {mean:+.2f} ± {spread:.2f} (truth {np.sin(5 * at):+.2f})")

figure = Figure(figsize=(6, 4), layout="constrained")
fn.report.spread(run.model, data, figure.subplots(), feature_name="x", target_name="y")
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/uncertainty.png", dpi=150)
print("Wrote runs/uncertainty.png")

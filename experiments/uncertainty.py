"""What does an ensemble say where it has seen nothing?

    python experiments/uncertainty.py

A curve with a gap in its data, and fifty networks, each with a start and an order of its own, trained
as one program. Near the rows they agree; in the gap they don't, and say so. Beyond the ends they spread
too, but much less than they are wrong: relu networks go on in straight lines, all of them.
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
    seen = np.array([[at]], np.float32)
    mean, spread = float(run.model(seen)[0]), float(run.model.spread(seen)[0])
    print(f"{place:15} x = {at}: {mean:+.2f} ± {spread:.2f} (truth {np.sin(5 * at):+.2f})")

figure = Figure(figsize=(6, 4), layout="constrained")
fn.report.spread(run.model, data, figure.subplots(), feature_name="x", target_name="y")
Path("runs").mkdir(exist_ok=True)
figure.savefig("runs/uncertainty.png", dpi=150)
print("Wrote runs/uncertainty.png")

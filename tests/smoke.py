"""What a new installation must do: run by `make release` on the wheel, in an empty environment."""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax

import funcnet as fn

assert "site-packages" in fn.__file__, f"this is not the installed package: {fn.__file__}"

# A loss to its training, alone and as an ensemble; a model on disk.
iris = fn.data.load("iris")
data, test = fn.data.split(iris.data, (0.8, 0.2), jax.random.key(0), stratify=iris.data[:][1])
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(1e-2), epochs=60, batch_size=16)
net = fn.MLP((4, 16, 3))
run = train(net.init(jax.random.key(1)), data, jax.random.key(2))
accuracy = float(fn.evaluate(loss, run.model, test)["accuracy"])
assert accuracy > 0.85, accuracy
members = fn.study.ensemble(train, 5)(net, data, jax.random.key(3))
assert len(members.runs.history["loss"]) == 5
with tempfile.TemporaryDirectory() as folder:
    fn.save(run.model, Path(folder) / "model.safetensors")
    assert fn.load(Path(folder) / "model.safetensors") == run.model

    # A table to predictions, by the command.
    table = Path(folder) / "iris.csv"
    rows = np.column_stack([np.asarray(column) for column in iris.data[:]])
    np.savetxt(table, rows, delimiter=",", header="a,b,c,d,species", comments="")

    def funcnet(*arguments: object) -> str:
        command = [sys.executable, "-m", "funcnet", *map(str, arguments)]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    assert funcnet("--version") == f"funcnet {fn.__version__}\n"
    funcnet("train", table, "--target", "species", "--members", 1, "--out", "run")
    predictions = funcnet("predict", "run", table).split()
    assert predictions[0] == "prediction,probability"
    assert len(predictions) == 151, predictions[:3]
print(f"funcnet {fn.__version__} works: accuracy {accuracy:.3f} on iris")

"""What can be plotted of a run? The picture of README.md, and one sheet with every kind of picture.

make pictures
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import make_classification

import funcnet as fn

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
PICTURES.mkdir(exist_ok=True)


def save(figure, name, dpi):
    figure.savefig(PICTURES / name, dpi=dpi)
    print(f"docs/pictures/{name}")


# 1. The picture of README.md: two of the four features of iris, so that all of the surface is visible.
iris = fn.data.load("iris")
x, species = iris.data[:]
petals = fn.data.Dataset((x[:, 2:], species))
train_rows, valid_rows = fn.data.split(petals, (0.7, 0.3), jax.random.key(0), stratify=species)

classes_loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
stopping = fn.EarlyStopping(patience=30)
train = fn.fit(classes_loss, optax.adam(3e-3), epochs=300, batch_size=16, stopping=stopping)
net = fn.MLP((2, 32, 32, 3), activation=jax.nn.tanh)
run = train(net.init(jax.random.key(1)), train_rows, jax.random.key(2), valid_rows)

figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained", width_ratios=(1, 1, 1.1))
run.plot(axes[:2])
petal_names = {"feature_names": iris.feature_names[2:], "class_names": iris.class_names}
fn.report.decision_surface(run.model, petals, axes[2], **petal_names)
save(figure, "iris.png", 110)

# 2. The sheet: rows of panels with their widths in twelfths, and the height of each row in inches.
ROWS = [
    (
        3.3,
        {"scatter, one feature": 3, "regression_line": 3, "scatter, two features": 3, "separating_line": 3},
    ),
    (3.3, {"history": 6, "history of a hundred runs": 6}),
    (3.3, {"fitted_curves": 7, "predictions": 5}),
    (3.3, {"loss_curves": 3, "over probability": 3, "two targets": 3, "decision_surface": 3}),
    (4.8, {"training_frame": 3, "curves": 3, "curves with bands": 3, "calibration": 3}),
    (6.4, {"pair_plot": 7, "confusion_matrix": 5}),
]
heights = [height for height, _ in ROWS]
sheet = plt.figure(figsize=(17, sum(heights)), layout="constrained")
cells = {}
for row, (_, widths) in zip(sheet.subfigures(len(ROWS), 1, height_ratios=heights), ROWS, strict=True):
    places = np.ravel(row.subfigures(1, len(widths), width_ratios=list(widths.values())))
    cells |= dict(zip(widths, places, strict=True))
for name, place in cells.items():
    place.suptitle(name, fontsize=11, weight="bold", x=0.02, ha="left")


def cell(name, rows=1, columns=1, **grid):
    """New axes in a panel of the sheet."""
    return cells[name].subplots(rows, columns, **grid)


# A line through 120 points.
rng = np.random.RandomState(13)
feature = np.linspace(0.0, 3.0, 120, dtype=np.float32)
target = (2 * feature + 0.9 + 0.5 * rng.randn(120)).astype(np.float32)
fn.report.scatter((feature, target), cell("scatter, one feature"), feature_names=["x"], target_name="y")

loss = fn.losses.supervised(fn.losses.squared_error)
line = fn.models.LinearRegression(1)
column = (feature[:, None], target)
train = fn.fit(loss, optax.sgd(0.1), epochs=10, batch_size=4)
run = train(line.init(jax.random.key(0)), column, jax.random.key(1))
fn.report.regression_line(run.model, column, cell("regression_line"), feature_name="x", target_name="y")

# Six of them, and polynomials of too low, suitable and too high a degree.
few, rest = (feature[10::20], target[10::20]), (feature[3::17], target[3::17])
degrees = {"underfitted: a constant": 0, "a line": 1, "overfitted: a curve through all": 5}
polynomials = {
    title: jax.tree_util.Partial(jnp.polyval, jnp.asarray(np.polyfit(*few, degree), jnp.float32))
    for title, degree in degrees.items()
}
axes = cell("fitted_curves", 1, 3, sharey=True)
fn.report.fitted_curves(polynomials, few, axes, valid=rest, feature_name="x", target_name="y")

# Two classes in raw units: the perceptron is trained on scaled features and drawn on raw ones.
points, labels = make_classification(
    n_samples=100, n_redundant=0, n_features=2, flip_y=0.05, class_sep=1.5, random_state=0
)
points = (points * [8, 60] + [40, 700]).astype(np.float32)
data = fn.data.Dataset((points[:70], labels[:70]))
valid = fn.data.Dataset((points[70:], labels[70:]))
scaler = fn.data.Scaler.fit(data, "minmax")
scaled, scaled_valid = scaler.transform(data), scaler.transform(valid)
units = {"feature_names": ["age (years)", "weight (N)"], "class_names": ["healthy", "ill"]}
fn.report.scatter(data, cell("scatter, two features"), **units)

logistic = fn.losses.supervised(fn.losses.binary_cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(logistic, optax.adam(0.1), epochs=30, batch_size=8)
perceptron = fn.models.Perceptron(2).init(jax.random.key(0))
run = train(perceptron, scaled, jax.random.key(1), scaled_valid)
fn.report.separating_line(run.model, data, cell("separating_line"), scaler=scaler, **units)
fn.report.predictions(run.model, valid, cell("predictions", 1, 2, sharey=True), scaler=scaler, **units)
fn.report.history(run, cell("history", 1, 2))

# A hundred runs in one program.
stopping = fn.EarlyStopping(patience=15)
train = fn.fit(logistic, optax.adam(0.05), epochs=60, batch_size=8, stopping=stopping)
net = fn.MLP((2, 16, "scalar"))
keys = jax.random.split(jax.random.key(2), 100)
models = jax.vmap(net.init)(keys)
runs = jax.vmap(train, in_axes=(0, None, 0, None))(models, scaled, keys, scaled_valid)
fn.report.history(runs, cell("history of a hundred runs", 1, 2))

# Losses of one example.
wrong = lambda logit, target: 1 - fn.metrics.accuracy(logit, target)  # noqa: E731
errors = {"absolute": fn.metrics.absolute_error, "squared": fn.losses.squared_error}
fn.report.loss_curves(errors, cell("loss_curves"))
both = {"0-1": wrong, "logistic": fn.losses.binary_cross_entropy}
fn.report.loss_curves(both, cell("over probability"), over="probability")
entropy = {"cross-entropy": fn.losses.binary_cross_entropy}
axes = cell("two targets")
fn.report.loss_curves(entropy, axes, over="probability", targets=(1, 0))

# The last frame of an animation of a run, epoch by epoch.
optimizer = optax.adam(0.05)
step = jax.jit(fn.step(logistic, optimizer))
state = fn.TrainState.create(net.init(jax.random.key(3)), optimizer, jax.random.key(4))
history = {"accuracy": np.full(40, np.nan), "val_accuracy": np.full(40, np.nan)}
weights = {"hidden layer": [], "last layer": []}
for epoch in range(30):
    for batch in fn.data.batches(scaled, 8, state.key, epoch):
        state, _ = step(state, batch)
    history["accuracy"][epoch] = fn.evaluate(logistic, state.model, scaled)["accuracy"]
    history["val_accuracy"][epoch] = fn.evaluate(logistic, state.model, scaled_valid)["accuracy"]
    for largest, layer in zip(weights.values(), state.model.layers, strict=True):
        largest.append(float(jnp.abs(layer.weight).max()))
axes = cell("training_frame", 2, 1, height_ratios=(1, 2))
fn.report.training_frame(state.model, history, data, axes, scaler=scaler, **units)
fn.report.curves(weights, cell("curves"), ylabel="largest |weight|")

# All of iris: pairs of features, one decision surface, and the confusion matrix.
names = {"feature_names": iris.feature_names, "class_names": iris.class_names}
fn.report.pair_plot(iris.data, cell("pair_plot", 4, 4), **names)

iris_scaler = fn.data.Scaler.fit(iris.data)
parts = fn.data.split(iris_scaler.transform(iris.data), (0.5, 0.5), jax.random.key(5), stratify=species)
accuracy = {}
for rate in (0.0, 0.2, 0.5, 0.8):
    train = fn.fit(classes_loss, optax.adam(1e-2), epochs=40, batch_size=16)
    models = jax.vmap(fn.MLP((4, 32, 3), dropout=rate).init)(keys[:20])
    runs = jax.vmap(train, in_axes=(0, None, 0, None))(models, parts[0], keys[:20], parts[1])
    accuracy[f"dropout {rate}"] = runs.history["val_accuracy"]
fn.report.curves(accuracy, cell("curves with bands"), ylabel="validation accuracy")

train = fn.fit(classes_loss, optax.adam(1e-2), epochs=40, batch_size=16)
run = train(fn.MLP((4, 32, 3)).init(jax.random.key(6)), parts[0], jax.random.key(7))
axes = cell("decision_surface")
fn.report.decision_surface(run.model, iris.data, axes, scaler=iris_scaler, features=(2, 3), **names)

x_test, y_test = parts[1][:]
logits = fn.predict(run.model, x_test)
axes = cell("confusion_matrix")
fn.report.confusion_matrix(logits, y_test, axes, class_names=iris.class_names)

# Digits, for a calibration curve with enough examples per bin.
digits = fn.data.load("digits")
parts = fn.data.split(fn.data.Scaler.fit(digits.data).transform(digits.data), (0.2, 0.8), jax.random.key(8))
train = fn.fit(classes_loss, optax.adam(1e-2), epochs=4, batch_size=16)
run = train(fn.MLP((64, 10)).init(jax.random.key(9)), parts[0], jax.random.key(10))
pixels, digit = parts[1][:]
axes = cell("calibration", 2, 1, sharex=True, height_ratios=(3, 1))
fn.report.calibration(fn.predict(run.model, pixels), digit, axes)
save(sheet, "gallery.png", 75)

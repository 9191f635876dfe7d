"""The trained networks of a table: predictions of each, and of all together."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._jit import bounded_jit
from funcnet._types import Array
from funcnet.tabular._activations import ACTIVATIONS
from funcnet.tabular._features import Features
from funcnet.tabular._network import Network, Parameters, apply_network, packed_shapes, unpack
from funcnet.tabular._preprocessing import Preprocessing
from funcnet.tabular._sizes import round_up

PREDICT_CHUNK = 1024
ROWS_AT_ONCE = 2**16


@dataclasses.dataclass(frozen=True, eq=False)
class Members:
    """Networks trained on a table, with their preprocessing: arrays and plain settings only.

    Args:
        network: the sizes of each network, padded.
        task: "classes", "labels" or "values".
        preprocessing: from features to the inputs of the networks.
        parameters: float32 arrays "weight_0", … and "rest" (all others in one vector), with a leading axis
            [runs].
        temperature: what logits are multiplied with before they become probabilities.
        center: float64 [outputs], the mean of the training targets; 0 unless the task is "values".
        scale: float64 [outputs], their standard deviation; 1 unless the task is "values".
        bounds: float64 [2, outputs], their range, in standard deviations from the mean.
        is_vector: whether values have an axis for outputs: [rows, outputs] instead of [rows].
        chosen: each setting with its value and why it was chosen.
        out_of_fold: the prediction of each training row by the runs that held it out: probabilities
            [rows, classes or labels], or values [rows] or [rows, outputs]; NaN where no run did.
        history: "loss" and "val_loss" [runs, epochs], in nats or squared standard deviations of the target;
            NaN after the last epoch of a run, and "val_loss" if it held no rows out. "loss" includes label
            smoothing, dropout and no penalty; "val_loss" is the loss after the best temperature.
        best_epoch: the epoch [runs] whose parameters are kept, counted from 0.
        fold: the fold [runs] that each run held out.
    """

    network: Network
    task: str
    preprocessing: Preprocessing
    parameters: Mapping[str, np.ndarray]
    temperature: float
    center: np.ndarray
    scale: np.ndarray
    bounds: np.ndarray
    is_vector: bool
    chosen: Mapping[str, tuple[Any, str]]
    out_of_fold: np.ndarray
    history: Mapping[str, np.ndarray]
    best_epoch: np.ndarray
    fold: np.ndarray

    def __len__(self) -> int:
        """The number of runs."""
        return len(self.best_epoch)

    def predictions(self, features: Features) -> np.ndarray:
        """The prediction of each run.

        Args:
            features: rows with the columns of the training table.

        Returns:
            float64 [runs, rows, classes or labels], probabilities; or values in the units of the target,
            [runs, rows] or [runs, rows, outputs].

        Raises:
            ValueError: if the columns differ from the training table's.
        """
        parts = [
            self._to_predictions(self._outputs(part))
            for start in range(0, max(len(features), 1), ROWS_AT_ONCE)
            for part in [features.rows(np.arange(start, min(start + ROWS_AT_ONCE, len(features))))]
        ]
        return np.concatenate(parts, axis=1)

    def predict(self, features: Features) -> np.ndarray:
        """The mean prediction of all runs.

        Args:
            features: rows with the columns of the training table.

        Returns:
            As `predictions`, without the axis of runs.

        Raises:
            ValueError: if the columns differ from the training table's.
        """
        return self.predictions(features).mean(axis=0)

    def check(self) -> None:
        """Check that all parts fit together, for members from a file.

        Raises:
            ValueError: if they do not.
        """
        net, prep, columns = self.network, self.preprocessing, self.preprocessing.columns
        runs, outputs = len(self), net.outputs
        shapes = {name: (runs, *shape) for name, shape in packed_shapes(net).items()}
        expected: dict[str, tuple[Any, tuple[int, ...]]] = {
            **{
                f"the parameter {name}": (self.parameters.get(name), shape)
                for name, shape in shapes.items()
            },
            **{name: (getattr(self, name), (runs,)) for name in ("best_epoch", "fold")},
            **{name: (getattr(self, name), (outputs,)) for name in ("center", "scale")},
            "bounds": (self.bounds, (2, outputs)),
            **{f"history[{name!r}]": (a, (runs, *a.shape[1:2])) for name, a in self.history.items()},
            **{
                name: (getattr(prep, name), (len(prep.has_gaps),))
                for name in ("centers", "scales", "is_binary", "has_gaps")
            },
        }
        for name, (array, shape) in expected.items():
            if array is None or array.shape != shape or array.dtype.kind not in "biuf":
                raise ValueError(f"{name} must be numbers of shape {shape}, got {_check.describe(array)}")
        sizes = (net.numbers, net.others, net.codes, net.vocabulary)
        if any(size < used for size, used in zip(sizes, columns, strict=True)):
            raise ValueError(f"network must have at least the columns {tuple(columns)}, got {sizes}")
        _check.choice("task", self.task, ("classes", "labels", "values"))
        _check.choice("activation", net.activation, tuple(ACTIVATIONS))

    def _outputs(self, features: Features) -> np.ndarray:
        """The outputs [runs, rows, outputs] of the networks, in a few sizes of programs."""
        net, rows = self.network, len(features)
        chunk = min(PREDICT_CHUNK, round_up(rows, 32))
        sizes = net.numbers, net.others, net.codes
        padded = self.preprocessing.transform(features, round_up(-(-rows // chunk)) * chunk, sizes)
        chunks = tuple(x.reshape(len(x) // chunk, chunk, x.shape[1]) for x in padded)
        mask = net.input_mask(self.preprocessing.columns)
        outputs = _apply_runs(net, dict(self.parameters), chunks, mask)
        return np.asarray(outputs).reshape(len(self), -1, net.outputs)[:, :rows]

    def _to_predictions(self, outputs: np.ndarray) -> np.ndarray:
        if self.task != "values":
            return probabilities(self.task, outputs, self.temperature)
        values = to_values(outputs, self.center, self.scale, self.bounds)
        return values if self.is_vector else values[..., 0]


def probabilities(task: str, outputs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, float64, of logits [..., outputs] multiplied by `temperature`."""
    scaled = outputs.astype(np.float64) * temperature
    if task == "labels":
        return 0.5 * (1 + np.tanh(scaled / 2))
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def to_values(outputs: np.ndarray, center: np.ndarray, scale: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Values [runs, rows, outputs] in the units of the target, within bounds ([runs,] 2, outputs)."""
    low, high = bounds[..., :1, :], bounds[..., 1:, :]
    return np.clip(outputs.astype(np.float64), low, high) * scale + center


def _apply_to_runs(
    net: Network, parameters: Parameters, chunks: tuple[Array, Array, Array], mask: Array
) -> Array:
    """Outputs [runs, chunks, rows, outputs] of inputs [chunks, rows, columns]."""

    def apply(run: Parameters) -> Array:
        unpacked = unpack(net, run)
        return jax.lax.map(lambda inputs: apply_network(net, unpacked, inputs, mask), chunks)

    return jax.lax.map(apply, jax.tree.map(jnp.asarray, parameters))


_apply_runs = bounded_jit(_apply_to_runs, static_argnums=0)

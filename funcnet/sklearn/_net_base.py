"""Training of any network by `fn.fit`, whatever its target is."""

import abc
import functools
import os
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.utils.validation import check_is_fitted, validate_data

from funcnet import _check, _keys, losses
from funcnet.data import Dataset
from funcnet.sklearn import _save
from funcnet.sklearn._base import (
    TableEstimator,
    check_weight,
    fraction,
    settings_in_constructor,
    take_rows,
)
from funcnet.tabular import Features
from funcnet.tabular._merge import merge_equal_rows
from funcnet.tabular._preprocessing import ANY_SIZE, fit_preprocessing
from funcnet.train import EarlyStopping, Fit, fit, load_weights, predict

OPTIMIZER = optax.adam(3e-3)
BLOCK = 256
"""Rows predicted at once, so that a prediction does not depend on the rows beside it."""


class NetBase(TableEstimator, abc.ABC):
    """Trains a network by `fn.fit`; what the target is belongs to the subclass."""

    model_: Any
    n_iter_: int
    _fitted_name = "model_"

    def __init__(
        self,
        net: Any,
        loss: Any = None,
        optimizer: Any = None,
        *,
        epochs: int = 100,
        batch_size: int = 32,
        stopping: Any = None,
        validation_fraction: float = 0.1,
        preprocessing: Any = "auto",
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.stopping = stopping
        self.validation_fraction = validation_fraction
        self.preprocessing = preprocessing
        self.random_state = random_state
        self.warm_start = warm_start

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = self.preprocessing is not None
        return tags

    @settings_in_constructor
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Args:
            X: a frame of pandas or polars, or an array [rows, columns]; with `preprocessing=None` numbers
                [rows, ...] that the network takes as they are.
            y: the target [rows], or [rows, outputs].
            sample_weight: the weight of each row [rows], at least 0; 1 each by default.

        Returns:
            The estimator.

        Raises:
            TypeError: if X is sparse, `net` is neither a network nor a function that returns one, or a
                parameter has the wrong type.
            ValueError: if X and y do not match, the network does not have an output for each class or
                target, or a parameter is out of range.
        """
        _check.boolean("warm_start", self.warm_start)
        is_first = not (self.warm_start and self.__sklearn_is_fitted__())
        if is_first:
            self._forget()
        self._fit(X, y, sample_weight, is_first, self.epochs, self._seed())
        return self

    def _pass(self, X: Any, y: Any, sample_weight: Any, is_first: bool) -> Self:
        passes = 0 if is_first else self.n_iter_
        self._fit(X, y, sample_weight, is_first, 1, self._seed() + passes)
        self.n_iter_ = passes + 1
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, is_first: bool, epochs: int, seed: int) -> None:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        X = self._check_X(X, reset=is_first)
        weight = check_weight(sample_weight, len(X))
        rows = np.flatnonzero(weight > 0)
        target = self._encode_y(y, len(X), rows, is_first)
        weight = weight[rows] * self._weigh(target)
        if is_first:
            self._scale_target(target, weight)
        x = self._inputs(take_rows(X, rows), weight if is_first else None)
        key = self._key(seed)
        self.net_ = build_net(self.net, x.shape[1], self._num_outputs())
        if not is_first:
            check_same_net(self.net_, self.model_)
        model = self.net_.init(_keys.fold_in_name(key, "init")) if is_first else self.model_
        self._check_width(model, x)
        target = self._shape_target(model, x, target)
        x, target, weight = _merge_full_batch(x, target, weight, self.batch_size)
        if self.loss is not None and not callable(self.loss):
            raise TypeError(
                f"loss must be a function (prediction, target) -> scalar or None, got "
                f"{_check.describe(self.loss)}. Try loss=fn.losses.cross_entropy."
            )
        train = _training_function(
            self._per_example_loss(), self.optimizer, epochs, self.batch_size, self.stopping
        )
        data, valid = self._split(x, target, weight, seed)
        run = train(model, data, _keys.fold_in_name(key, "train"), valid)
        self.model_ = run.model
        self.n_iter_ = int(run.state.epoch)
        self.history_ = {name: np.asarray(v)[: self.n_iter_] for name, v in run.history.items()}
        self.loss_curve_ = self.history_["loss"].tolist()
        self.loss_ = self.loss_curve_[-1]

    def _check_width(self, model: Any, x: np.ndarray) -> None:
        """Check that a network takes the features that the preprocessing has made of the columns."""
        if self.preprocessing is None or x.shape[1:] == (self.n_features_in_,):
            return
        try:
            output_shape(model, x)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"net must take the {x.shape[1]} features that the preprocessing makes of "
                f"{self.n_features_in_} columns. Write net=lambda n_features, n_outputs: "
                f"fn.MLP((n_features, 64, n_outputs)), or preprocessing=None. Its error: {error}"
            ) from error

    def _check_X(self, X: Any, reset: bool) -> Any:
        if self.preprocessing is None:
            return validate_data(self, X, reset=reset, dtype=np.float32, allow_nd=True)
        return super()._check_X(X, reset)

    def _inputs(self, X: Any, weight: np.ndarray | None) -> np.ndarray:
        """Checked rows as the network takes them, float32 [rows, ...]; with weights, the training rows."""
        if self.preprocessing is None:
            return np.asarray(X)
        is_first = weight is not None
        if is_first:
            X = self._fit_schema(X)
        elif hasattr(self, "preprocessing_"):
            X = self.preprocessing_.transform(X)
        features = self._encode(X)
        if is_first:
            self._preprocessing = fit_preprocessing(features, ANY_SIZE, weight)
        return self._preprocessing.matrix(features)

    def _outputs(self, X: Any) -> np.ndarray:
        """The outputs of the network, float64 [rows, ...]."""
        check_is_fitted(self)
        x = self._inputs(self._check_X(X, reset=False), None)
        blocks = []
        for i in range(0, len(x), BLOCK):
            block = x[i : i + BLOCK]
            padding = [(0, BLOCK - len(block)), *[(0, 0)] * (x.ndim - 1)]
            blocks.append(np.asarray(predict(self.model_, np.pad(block, padding)))[: len(block)])
        return np.concatenate(blocks).astype(np.float64)

    def _split(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray, seed: int) -> tuple[Dataset, Any]:
        """Training rows, and validation rows if there is early stopping."""
        if self.stopping is None:
            return Dataset((x, y), weight=jnp.asarray(weight, float)), None
        fraction("validation_fraction", self.validation_fraction)
        order = np.random.default_rng(seed).permutation(len(x))
        count = max(1, round(len(x) * self.validation_fraction))
        if count >= len(x):
            raise ValueError(
                f"validation_fraction must leave rows to train on, got {self.validation_fraction} of "
                f"{len(x)} rows. Try stopping=None."
            )
        parts = np.sort(order[count:]), np.sort(order[:count])
        train, valid = (Dataset((x[p], y[p]), weight=jnp.asarray(weight[p], float)) for p in parts)
        return train, valid

    @abc.abstractmethod
    def _encode_y(self, y: Any, count: int, rows: np.ndarray, is_first: bool) -> np.ndarray:
        """The target of some rows."""

    @abc.abstractmethod
    def _weigh(self, target: np.ndarray) -> Any:
        """What the weight of each training row is multiplied by."""

    def _scale_target(self, target: np.ndarray, weight: np.ndarray) -> None:
        """Decide how numbers are standardized."""

    @abc.abstractmethod
    def _num_outputs(self) -> int:
        """The number of outputs of the network."""

    @abc.abstractmethod
    def _per_example_loss(self) -> Callable[..., Any]:
        """The loss of one example."""

    @abc.abstractmethod
    def _shape_target(self, model: Any, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The target as the loss takes it, after a check of the shape of the network's outputs."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights and the preprocessing to a folder, without pickle. The network itself is code.

        Args:
            path: the folder, created if missing.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if `preprocessing` is a transformer, which can't be written as JSON.
            OSError: if the folder can't be written.
        """
        check_is_fitted(self)
        omit = ("net", "loss", "optimizer", "stopping", "net_", "model_")
        _save.save(self, path, history=self.history_, max_epochs=self.epochs, omit=omit, model=self.model_)

    @classmethod
    def load(cls, path: str | os.PathLike[str], net: Any, **parameters: Any) -> Self:
        """Load an estimator that `save` wrote.

        Args:
            path: the folder.
            net: the network it was trained with, or the function that returns it.
            **parameters: `loss`, `optimizer` and `stopping`, for further training.

        Returns:
            The fitted estimator.

        Raises:
            FileNotFoundError: if there is no estimator in the folder.
            ValueError: if a file has changed since it was saved, or `net` is another network.
        """
        estimator: Self = _save.load(cls, path, net=net, **parameters)
        takes_rows = estimator.preprocessing is None
        width = estimator.n_features_in_ if takes_rows else estimator._preprocessing.width
        estimator.net_ = build_net(net, width, estimator._num_outputs())
        estimator.model_ = load_weights(estimator.net_, _save.weights_file(path))
        return estimator


def build_net(net: Any, n_features: int, n_outputs: int) -> Any:
    """The network, or what a function returns for these sizes.

    Raises:
        TypeError: if it is neither.
    """
    if not hasattr(net, "init") and callable(net):
        net = net(n_features, n_outputs)
    if not hasattr(net, "init") or isinstance(net, type):
        raise TypeError(
            "net must be a network, or a function (n_features, n_outputs) -> network, got "
            f"{_check.describe(net)}. Try "
            "net=lambda n_features, n_outputs: fn.MLP((n_features, 64, n_outputs))."
        )
    return net


def check_same_net(net: Any, model: Any) -> None:
    """Check that a trained model can be one of this network: its parameters have the same shapes."""
    wanted, got = (
        [leaf.shape for leaf in jax.tree.leaves(tree)]
        for tree in (model, jax.eval_shape(net.init, jax.random.key(0)))
    )
    if wanted != got:
        raise ValueError(
            f"net must stay the one that is trained further, with parameters of shapes {wanted}, got "
            f"{got}. Try warm_start=False."
        )


@functools.lru_cache(maxsize=32)
def _training_function(loss: Any, optimizer: Any, epochs: int, batch_size: int, stopping: Any) -> Fit:
    """The same function for the same settings, so that it is compiled once."""
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise TypeError(
            f"stopping must be a fn.EarlyStopping or None, got {_check.describe(stopping)}. Try "
            "stopping=fn.EarlyStopping(patience=10)."
        )
    return fit(
        losses.supervised(loss),
        OPTIMIZER if optimizer is None else optimizer,
        epochs=epochs,
        batch_size=batch_size,
        stopping=stopping,
        on_nan="raise",
    )


def _merge_full_batch(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge equal rows if one batch holds all rows: the loss is the same, to the last bit for any order."""
    _check.positive("batch_size", batch_size)
    if len(x) > batch_size:
        return x, y, weight / weight.mean()
    flat = Features(x.reshape(len(x), -1).astype(np.float64), np.zeros((len(x), 0), np.int32), ())
    first, weight, _ = merge_equal_rows(flat, y, weight, np.zeros(len(x), int))
    return x[first], y[first], weight / weight.mean()


def check_outputs(model: Any, x: np.ndarray, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the network's output for one row, which must be one of these."""
    shape = output_shape(model, x)
    if shape not in shapes:
        raise ValueError(f"net must have outputs of shape {shapes[0]} for each row, got {shape}.")
    return shape


def output_shape(model: Any, x: np.ndarray) -> tuple[int, ...]:
    """The shape of the network's output for one row."""
    example = jax.ShapeDtypeStruct(x.shape[1:], np.float32)
    return tuple(jax.eval_shape(lambda m, row: m(row), model, example).shape)

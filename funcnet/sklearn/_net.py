"""Any network as an estimator of scikit-learn."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin

from funcnet import losses
from funcnet.sklearn._net_base import NetBase, check_outputs
from funcnet.sklearn._target import (
    ValueTargets,
    check_classes,
    check_not_balanced,
    encode_classes,
    weigh_classes,
)


class NetClassifier(ClassifierMixin, NetBase):
    """Any network as a classifier of scikit-learn, trained by `fn.fit`.

    Args:
        net: a network with an output (a logit) for each class, or a function
            `(n_features, n_outputs) -> network`.
        loss: of one example, `(logits, class) -> scalar`; `fn.losses.cross_entropy` by default.
        optimizer: of optax; `optax.adam(3e-3)` by default.
        epochs: passes over the training rows.
        batch_size: rows in a batch. If one batch holds all rows, equal rows are merged into one of their
            summed weight, which is the same training.
        stopping: a `fn.EarlyStopping`, which is watched on validation rows; None for all epochs.
        validation_fraction: fraction of the rows that are validation rows.
        class_weight: "balanced", a dictionary {class: weight}, or None for 1 each.
        preprocessing: "auto", which reads the columns of a table and scales them; a `fn.tabular.Schema`, a
            dictionary {column: role} or a transformer of scikit-learn; or None, if the network takes X as
            it is, in float32.
        random_state: seed of all random numbers; if None, 0, so that equal calls give equal results.
        warm_start: whether `fit` continues from the weights of the last call.

    Attributes:
        classes_: the classes as they came, sorted.
        model_: the trained network.
        net_: the network before it was trained.
        history_: losses and metrics of each epoch, by name.
        loss_curve_: the training loss of each epoch, in nats.
        n_iter_: the number of epochs.

    Raises:
        TypeError: from `fit`, if a parameter has the wrong type.
        ValueError: from `fit`, if a parameter is out of range or the data is unfit.

    Example:
        >>> import sklearn.datasets, funcnet as fn
        >>> from funcnet.sklearn import NetClassifier
        >>> X, y = sklearn.datasets.load_iris(return_X_y=True)
        >>> model = NetClassifier(lambda n_features, n_outputs: fn.MLP((n_features, 16, n_outputs)))
        >>> model.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.9
        True
    """

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
        class_weight: Any = None,
        preprocessing: Any = "auto",
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        super().__init__(
            net,
            loss,
            optimizer,
            epochs=epochs,
            batch_size=batch_size,
            stopping=stopping,
            validation_fraction=validation_fraction,
            preprocessing=preprocessing,
            random_state=random_state,
            warm_start=warm_start,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on some rows, from where the last call ended.

        The first call decides how columns are read and scaled.

        Args:
            X: as for `fit`.
            y: as for `fit`.
            classes: all classes that any call will see; required in the first call.
            sample_weight: as for `fit`.

        Returns:
            The estimator.

        Raises:
            TypeError: as for `fit`.
            ValueError: as for `fit`, or if `classes` is missing in the first call, or differs from it, or
                `class_weight` is "balanced".
        """
        check_not_balanced(self.class_weight)
        is_first = not self.__sklearn_is_fitted__()
        self.classes_ = check_classes(self, classes, is_first)
        return self._pass(X, y, sample_weight, is_first)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            Classes [rows].

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class: the softmax of the network's outputs.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            float64 [rows, classes], each row with the sum 1.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        z = self._outputs(X)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def _encode_y(self, y: Any, count: int, rows: np.ndarray, is_first: bool) -> np.ndarray:
        target = encode_classes(y, count, rows, getattr(self, "classes_", None))
        if target.task == "labels":
            raise ValueError("y must hold one class a row, got several labels. Try MLPClassifier.")
        self.classes_ = target.classes
        return target.numbers

    def _weigh(self, target: np.ndarray) -> Any:
        return weigh_classes(self.class_weight, self.classes_, target)

    def _num_outputs(self) -> int:
        return len(self.classes_)

    def _per_example_loss(self) -> Callable[..., Any]:
        return losses.cross_entropy if self.loss is None else self.loss

    def _shape_target(self, model: Any, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        check_outputs(model, x, [(len(self.classes_),)])
        return target


class NetRegressor(ValueTargets, NetBase):
    """Any network as a regressor of scikit-learn, trained by `fn.fit`.

    Args:
        net: a network with one output for each target, or a function `(n_features, n_outputs) -> network`.
        loss: of one example, `(prediction, target) -> scalar`; `fn.losses.squared_error` by default.
        optimizer: of optax; `optax.adam(3e-3)` by default.
        epochs: passes over the training rows.
        batch_size: rows in a batch. If one batch holds all rows, equal rows are merged into one of their
            summed weight, which is the same training.
        stopping: a `fn.EarlyStopping`, which is watched on validation rows; None for all epochs.
        validation_fraction: fraction of the rows that are validation rows.
        preprocessing: "auto", which reads the columns of a table, scales them, and standardizes the target;
            a `fn.tabular.Schema`, a dictionary {column: role} or a transformer of scikit-learn; or None, if
            the network takes X and y as they are, in float32.
        random_state: seed of all random numbers; if None, 0, so that equal calls give equal results.
        warm_start: whether `fit` continues from the weights of the last call.

    Attributes:
        model_: the trained network.
        net_: the network before it was trained.
        history_: losses and metrics of each epoch, by name.
        loss_curve_: the training loss of each epoch, in squared standard deviations of the target by
            default.
        n_iter_: the number of epochs.

    Raises:
        TypeError: from `fit`, if a parameter has the wrong type.
        ValueError: from `fit`, if a parameter is out of range or the data is unfit.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from funcnet.sklearn import NetRegressor
        >>> X = np.linspace(-1.0, 1.0, 100)[:, None]
        >>> model = NetRegressor(fn.MLP((1, 16, "scalar"))).fit(X, 100 * X[:, 0] ** 2)
        >>> model.score(X, 100 * X[:, 0] ** 2) > 0.9
        True
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on some rows, from where the last call ended.

        The first call decides how columns are read and scaled.

        Args:
            X: as for `fit`.
            y: as for `fit`.
            sample_weight: as for `fit`.

        Returns:
            The estimator.

        Raises:
            TypeError: as for `fit`.
            ValueError: as for `fit`.
        """
        return self._pass(X, y, sample_weight, not self.__sklearn_is_fitted__())

    def predict(self, X: Any) -> np.ndarray:
        """The predicted target of each row.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            float64 [rows], or [rows, outputs], in the target's units.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        outputs = self._outputs(X)
        return outputs.reshape(len(outputs), *self._shape) * self._scale + self._shift

    def _scale_target(self, target: np.ndarray, weight: np.ndarray) -> None:
        self._shift, self._scale = np.zeros(self._shape), np.ones(self._shape)
        if self.preprocessing is not None:
            self._shift = np.average(target, axis=0, weights=weight)
            scale = np.sqrt(np.average((target - self._shift) ** 2, axis=0, weights=weight))
            self._scale = np.where(scale > 0, scale, 1.0)

    def _num_outputs(self) -> int:
        return self._shape[0] if self._shape else 1

    def _per_example_loss(self) -> Callable[..., Any]:
        return losses.squared_error if self.loss is None else self.loss

    def _shape_target(self, model: Any, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        shape = check_outputs(model, x, [self._shape] if self._shape else [(1,), ()])
        scaled = (target - self._shift) / self._scale
        return scaled.astype(np.float32).reshape(len(target), *shape)

"""The best MLP on a table by default, for classes."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from funcnet.sklearn import _scores
from funcnet.sklearn._mlp_base import MLPBase, Rows, has_no_folds
from funcnet.sklearn._target import check_classes, check_not_balanced, encode_classes, weigh_classes
from funcnet.sklearn._warnings import find_warnings
from funcnet.tabular import Uncertainty
from funcnet.tabular._uncertainty import of_probabilities


class MLPClassifier(ClassifierMixin, MLPBase):
    """A multilayer perceptron for classes, the best on a table that we know by default.

    It reads the columns of a table, trains several networks on several folds as one program, averages
    their probabilities, and calibrates them on the rows that were held out.

    Args:
        hidden_layer_sizes: units in each hidden layer. This and each parameter up to `calibrate` is "auto",
            which lets the recipe choose, or a value with scikit-learn's meaning.
        activation: "identity", "logistic", "tanh", "relu", or another one of the recipe.
        alpha: strength of the weight decay, at least 0.
        batch_size: rows in a batch.
        learning_rate_init: the learning rate.
        max_iter: passes over the training rows, at most.
        early_stopping: whether held-out rows choose the epoch; with folds they do in any case, since their
            rows are held out anyway. True ends a run early, False holds out none if there are no folds.
        validation_fraction: fraction of the rows that is held out for it if there are no folds.
        n_iter_no_change: epochs without improvement after which a run stops.
        members: number of networks for each fold.
        cv: number of folds, a splitter of scikit-learn, an iterable of (training rows, held-out rows), or
            None for one split; "auto" is 5, and None for fewer than 10 rows, more than 100,000, or more
            than 10 million numbers.
        class_weight: "balanced", a dictionary {class: weight}, or None for 1 each.
        calibrate: whether to scale the temperature of the probabilities on held-out rows.
        preprocessing: "auto", which reads columns as `fn.tabular.Schema.fit` does; such a schema; a
            dictionary {column: role}, which overrules its roles; or a transformer of scikit-learn.
        random_state: seed of all random numbers; if None, 0, so that equal calls give equal results.
        warm_start: whether `fit` continues from the weights of the last call. With other rows or another
            `random_state`, rows that are held out now may have been trained on then.
        verbose: whether `fit` prints how columns are read and what was chosen.

    Attributes:
        classes_: the classes as they came, sorted; for labels their numbers.
        schema_: how the columns are read.
        out_of_fold_: probabilities of each training row by the networks that were not trained on it,
            [rows, classes]; NaN where there are none.
        history_: by name, [runs, epochs]: losses in nats.
        loss_curve_: the training loss of each epoch, averaged over the runs.
        n_iter_: the number of epochs of the longest run.
        chosen_: what the recipe chose, and why.
        warnings_: what is doubtful about the training rows, a sentence each.

    Raises:
        TypeError: from `fit`, if a parameter has the wrong type.
        ValueError: from `fit`, if a parameter is out of range or the data is unfit.

    Example:
        >>> import sklearn.datasets
        >>> from funcnet.sklearn import MLPClassifier
        >>> X, y = sklearn.datasets.load_iris(return_X_y=True, as_frame=True)
        >>> model = MLPClassifier(members=1, cv=3, random_state=0).fit(X[::2], y[::2])
        >>> model.score(X[1::2], y[1::2]) > 0.9
        True
        >>> model.predict_proba(X[:2]).shape, sorted(model.report()["baseline"])
        ((2, 3), ['accuracy', 'balanced_accuracy', 'brier', 'log_loss'])
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "auto",
        *,
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = "auto",
        max_iter: Any = "auto",
        early_stopping: Any = "auto",
        validation_fraction: Any = "auto",
        n_iter_no_change: Any = "auto",
        members: Any = "auto",
        cv: Any = "auto",
        class_weight: Any = None,
        calibrate: Any = "auto",
        preprocessing: Any = "auto",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            members=members,
            cv=cv,
            calibrate=calibrate,
            preprocessing=preprocessing,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(has_no_folds)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one pass over some rows, from where the last call ended, without folds.

        The first call decides how columns are read and scaled. After a `fit`, each of its networks
        continues on all of the rows.

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
        if is_first:
            self._task = "classes"
        return self._pass(X, y, sample_weight, is_first)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, or 0 and 1 for each label.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            Classes [rows], or integers [rows, labels].

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        p = self._predict_mean(X)
        return (p > 0.5).astype(int) if self._task == "labels" else self.classes_[p.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            float64 [rows, classes], each row with the sum 1; for labels [rows, labels].

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        p = self._predict_mean(X)
        if self._task == "labels":
            return np.clip(p, 1e-9, 1 - 1e-9)
        return p / p.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            float64 [rows, classes], in nats.

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))

    def uncertainty(self, X: Any) -> Uncertainty:
        """The entropy of the predicted probabilities, and its parts.

        Args:
            X: rows with the columns of `fit`.

        Returns:
            An `Uncertainty` in nats, [rows] each: total, aleatoric (the mean entropy of the networks) and
            epistemic (the mutual information of class and network).

        Raises:
            NotFittedError: if the estimator is not fitted.
            ValueError: if the columns are not those of `fit`.
        """
        return of_probabilities(self._predict_runs(X), self._task == "labels")

    def _encode_y(self, y: Any, count: int, numbers: np.ndarray, is_first: bool) -> np.ndarray:
        known = getattr(self, "classes_", None)
        target = encode_classes(y, count, numbers, known)
        if known is not None and target.task != self._task:
            raise ValueError(f"y must hold {self._task}, as in the first call, got {target.task}.")
        if known is not None and len(known) != len(target.classes):
            raise ValueError(
                f"y must have {len(known)} labels, as in the first call, got {len(target.classes)}."
            )
        self.classes_, self._task = target.classes, target.task
        return target.numbers

    def _weigh(self, target: np.ndarray) -> Any:
        if self._task == "classes":
            return weigh_classes(self.class_weight, self.classes_, target)
        if self.class_weight is not None:
            raise ValueError("class_weight must be None for labels, which are not exclusive classes.")
        return 1.0

    def _recipe_task(self) -> dict[str, Any]:
        return {"task": self._task, "num_classes": len(self.classes_) if self._task == "classes" else None}

    def _output_shape(self) -> tuple[int, ...]:
        return (len(self.classes_),)

    def _scores(self, predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
        if self._task == "labels":
            return _scores.label_scores(predictions, target, weight)
        return _scores.class_scores(predictions, target, weight, self._class_names())

    def _class_names(self) -> list[str]:
        return [str(name) for name in self.classes_]

    def _find_warnings(self, rows: Rows) -> list[str]:
        if self._task == "labels":
            return []
        losses = _scores.row_losses(self.out_of_fold_[rows.numbers], rows.target, "classes")
        return find_warnings(
            self.schema_, rows.features, rows.target, self._class_names(), losses, rows.numbers
        )

"""What a saved MLP estimator predicts with, without importing scikit-learn, which takes a second."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from funcnet import _check
from funcnet.sklearn import _save
from funcnet.tabular import Features, Schema
from funcnet.tabular._drift import Distribution
from funcnet.tabular._members import Members


class SavedMLP(NamedTuple):
    """The parts of an MLPClassifier or MLPRegressor from a folder.

    Args:
        schema: how its columns are read.
        members: its networks.
        classes: the names of classes or labels; None for numbers.
        distribution: that of the training rows.
    """

    schema: Schema
    members: Members
    classes: np.ndarray | None
    distribution: Distribution

    def predict(self, features: Features) -> np.ndarray:
        """Probabilities [rows, classes or labels], or values [rows] or [rows, outputs]."""
        predicted = self.members.predict(features)
        if self.classes is None:
            return predicted
        p = predicted.reshape(len(features), len(self.classes))
        return p / p.sum(axis=1, keepdims=True) if self.members.task == "classes" else p


def read_mlp(folder: Path) -> SavedMLP:
    """The parts of the estimator in a folder.

    Raises:
        OSError: if there is none, or it can't be read.
        ValueError: if it is damaged, or its network is code of the user.
    """
    name, _, attributes = _save.read_parts(folder)
    check_class(folder, name)
    try:
        saved = SavedMLP(
            attributes["schema_"],
            attributes["members_"],
            attributes["classes_"] if name == "MLPClassifier" else None,
            attributes["_distribution"],
        )
        check_parts(*saved)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _save.damage(folder, error) from None
    return saved


def check_class(folder: Path, name: str) -> None:
    """Raise a ValueError if an estimator of this class can't be loaded without code of the user."""
    if name not in ("MLPClassifier", "MLPRegressor"):
        raise ValueError(
            f"{folder} contains a {name}, whose network is code. Load it in Python: {name}.load(path, net)."
        )


def check_parts(schema: Any, members: Any, classes: Any, distribution: Any) -> None:
    """Check that the parts of an estimator from a file fit together; they are those of `SavedMLP`.

    Raises:
        AttributeError: if one has no such part.
        TypeError: if one has the wrong type.
        ValueError: if they do not fit.
    """
    for name, value, kind in (
        ("members_", members, Members),
        ("schema_", schema, Schema),
        ("_distribution", distribution, Distribution),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {kind.__name__}, got {_check.describe(value)}")
    if not isinstance(classes, np.ndarray | None):
        raise TypeError(f"classes_ must be an array, got {_check.describe(classes)}")
    members.check()
    prep = members.preprocessing
    sizes = tuple(len(column.categories) for column in schema.columns if column.role == "category")
    if (len(prep.centers), prep.sizes) != (len(schema.number_names), sizes):
        raise ValueError("members_ must have the columns of schema_")
    distribution.check(*prep.centers.shape, prep.sizes)
    shape = None if classes is None else classes.shape
    if shape != (None if members.task == "values" else (members.network.outputs,)):
        raise ValueError("members_ must have the task and the outputs of the estimator")

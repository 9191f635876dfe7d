"""Estimators that follow the rules of scikit-learn: the best MLP on a table by default."""

from funcnet.sklearn._mlp import MLPClassifier as MLPClassifier
from funcnet.sklearn._mlp import MLPRegressor as MLPRegressor
from funcnet.sklearn._net import NetClassifier as NetClassifier
from funcnet.sklearn._net import NetRegressor as NetRegressor

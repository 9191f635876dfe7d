from ._mlp_classifier import MLPClassifier as MLPClassifier
from ._mlp_regressor import MLPRegressor as MLPRegressor
from ._net import NetClassifier as NetClassifier
from ._net import NetRegressor as NetRegressor

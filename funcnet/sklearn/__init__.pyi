from ._mlp import MLPClassifier as MLPClassifier
from ._mlp import MLPRegressor as MLPRegressor
from ._net import NetClassifier as NetClassifier
from ._net import NetRegressor as NetRegressor

"""Layers: modules that models are made of. One example or any leading batch axes; channels last."""

from funcnet.layers._activation import Activation as Activation
from funcnet.layers._dropout import Dropout as Dropout
from funcnet.layers._linear import Linear as Linear
from funcnet.layers._sequential import Sequential as Sequential

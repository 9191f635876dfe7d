"""Whole models, ready for `fit`."""

from funcnet.models._conv_net import ConvNet as ConvNet
from funcnet.models._linear import LinearRegression as LinearRegression
from funcnet.models._linear import Perceptron as Perceptron
from funcnet.models._mlp import MLP as MLP
from funcnet.models._res_mlp import ResMLP as ResMLP

"""Whole models, ready for `fit`."""

from funcnet.models._linear import LinearRegression as LinearRegression
from funcnet.models._linear import Perceptron as Perceptron
from funcnet.models._mlp import MLP as MLP

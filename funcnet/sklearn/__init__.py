"""Estimators that follow the rules of scikit-learn: the best MLP on a table by default."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""funcnet: training is a function. `fit` turns a loss into its training."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

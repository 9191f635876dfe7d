"""Studies: ensembles, cross-validation, sweeps, learning curves, and the diagnosis of runs."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

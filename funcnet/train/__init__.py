"""Training: `step`, `fit`, `evaluate`, `predict`, and what they carry and return."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Data: arrays that share a leading axis, their order, their batches, and where they come from."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

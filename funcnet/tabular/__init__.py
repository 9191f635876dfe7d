"""Tables: how their columns are read, what is trained on them, and studies of it."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Layers, the building blocks of models. They take one example or any leading batch axes, channels last."""

from funcnet._attach import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

"""Layers, the building blocks of models. They take one example or any leading batch axes, channels last."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

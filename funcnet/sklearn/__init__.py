"""Estimators that follow the rules of scikit-learn: the best MLP on a table by default."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

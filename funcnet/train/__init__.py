"""Training: `step`, `fit`, `evaluate`, `predict`, and what they carry and return."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Tables: how their columns are read, what is trained on them, and studies of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

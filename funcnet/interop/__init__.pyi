from ._torch import load_torch as load_torch
from ._torch import to_torch as to_torch

from ._equinox import from_equinox as from_equinox
from ._functions import from_functions as from_functions
from ._functions import from_stateful_functions as from_stateful_functions
from ._keras import from_keras as from_keras
from ._linen import from_linen as from_linen
from ._network import LiftedNetwork as LiftedNetwork
from ._nnx import from_nnx as from_nnx

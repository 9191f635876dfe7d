"""Layers: modules that models are made of. One example or any leading batch axes; channels last."""

from funcnet.layers._activation import Activation as Activation
from funcnet.layers._attention import MultiHeadAttention as MultiHeadAttention
from funcnet.layers._bidirectional import Bidirectional as Bidirectional
from funcnet.layers._dropout import Dropout as Dropout
from funcnet.layers._embedding import Embedding as Embedding
from funcnet.layers._linear import Linear as Linear
from funcnet.layers._recurrent import GRU as GRU
from funcnet.layers._recurrent import LSTM as LSTM
from funcnet.layers._sequential import Sequential as Sequential

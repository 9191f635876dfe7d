"""Layers: modules that models are made of. One example or any leading batch axes; channels last."""

from funcnet.layers._activation import Activation as Activation
from funcnet.layers._channel_dropout import ChannelDropout as ChannelDropout
from funcnet.layers._conv import Conv1d as Conv1d
from funcnet.layers._conv import Conv2d as Conv2d
from funcnet.layers._conv import ConvTranspose2d as ConvTranspose2d
from funcnet.layers._dropout import Dropout as Dropout
from funcnet.layers._flatten import Flatten as Flatten
from funcnet.layers._global_pool import GlobalAvgPool as GlobalAvgPool
from funcnet.layers._global_pool import GlobalMaxPool as GlobalMaxPool
from funcnet.layers._linear import Linear as Linear
from funcnet.layers._norm import GroupNorm as GroupNorm
from funcnet.layers._norm import LayerNorm as LayerNorm
from funcnet.layers._norm import RMSNorm as RMSNorm
from funcnet.layers._pool import AvgPool1d as AvgPool1d
from funcnet.layers._pool import AvgPool2d as AvgPool2d
from funcnet.layers._pool import MaxPool1d as MaxPool1d
from funcnet.layers._pool import MaxPool2d as MaxPool2d
from funcnet.layers._residual import Residual as Residual
from funcnet.layers._sequential import Sequential as Sequential

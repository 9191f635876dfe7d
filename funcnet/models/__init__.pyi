from ._conv_net import ConvNet as ConvNet
from ._fourier import FourierMLP as FourierMLP
from ._linear import LinearRegression as LinearRegression
from ._linear import Perceptron as Perceptron
from ._mlp import MLP as MLP
from ._res_mlp import ResMLP as ResMLP
from ._siren import SIREN as SIREN
from ._transformer import Transformer as Transformer

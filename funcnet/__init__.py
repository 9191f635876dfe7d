"""funcnet: training is a function. `fit` turns a loss into its training."""

from funcnet import data as data
from funcnet import layers as layers
from funcnet import losses as losses
from funcnet import metrics as metrics
from funcnet import models as models
from funcnet import report as report
from funcnet import train as train
from funcnet import transform as transform
from funcnet._module import Buffer as Buffer
from funcnet._module import Module as Module
from funcnet._module import count as count
from funcnet._module import trainable as trainable
from funcnet.layers import Dropout as Dropout
from funcnet.layers import Linear as Linear
from funcnet.layers import Sequential as Sequential
from funcnet.models import MLP as MLP
from funcnet.train import EarlyStopping as EarlyStopping
from funcnet.train import History as History
from funcnet.train import Outcome as Outcome
from funcnet.train import Run as Run
from funcnet.train import TrainState as TrainState
from funcnet.train import evaluate as evaluate
from funcnet.train import fit as fit
from funcnet.train import predict as predict
from funcnet.train import step as step

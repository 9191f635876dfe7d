"""Data: arrays that share a leading axis, their order, their batches, and where they come from."""

from funcnet.data._batches import Batch as Batch
from funcnet.data._batches import batches as batches
from funcnet.data._dataset import Dataset as Dataset
from funcnet.data._dataset import take as take
from funcnet.data._load import Table as Table
from funcnet.data._load import load as load
from funcnet.data._scaler import Scaler as Scaler
from funcnet.data._shuffle import Shuffle as Shuffle
from funcnet.data._split import split as split
from funcnet.data._synthetic import Problem as Problem
from funcnet.data._synthetic import exact_linear as exact_linear
from funcnet.data._synthetic import friedman1 as friedman1
from funcnet.data._synthetic import gaussians as gaussians
from funcnet.data._synthetic import noisy_line as noisy_line
from funcnet.data._synthetic import two_classes as two_classes
from funcnet.data._synthetic import two_moons as two_moons

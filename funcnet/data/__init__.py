"""Data: arrays that share a leading axis, their order, their batches, and where they come from."""

from funcnet.data._augment import augmented as augmented
from funcnet.data._augment import mixup as mixup
from funcnet.data._batches import Batch as Batch
from funcnet.data._batches import batches as batches
from funcnet.data._bootstrap import bootstrap as bootstrap
from funcnet.data._bootstrap import out_of_bag as out_of_bag
from funcnet.data._columns import Columns as Columns
from funcnet.data._dataset import Dataset as Dataset
from funcnet.data._dataset import take as take
from funcnet.data._encoder import Encoder as Encoder
from funcnet.data._fold import Folds as Folds
from funcnet.data._fold import kfold as kfold
from funcnet.data._labels import class_weights as class_weights
from funcnet.data._labels import one_hot as one_hot
from funcnet.data._load import Table as Table
from funcnet.data._load import load as load
from funcnet.data._scaler import Scaler as Scaler
from funcnet.data._shuffle import Shuffle as Shuffle
from funcnet.data._split import split as split
from funcnet.data._transforms import chain as chain
from funcnet.data._transforms import flip as flip
from funcnet.data._transforms import noise as noise
from funcnet.data._transforms import shift as shift

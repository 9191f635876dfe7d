"""Training: `step`, `fit`, `evaluate`, `predict`, and what they carry and return."""

from funcnet.train._evaluate import evaluate as evaluate
from funcnet.train._evaluate import predict as predict
from funcnet.train._fit import Fit as Fit
from funcnet.train._fit import fit as fit
from funcnet.train._result import Run as Run
from funcnet.train._state import History as History
from funcnet.train._state import TrainState as TrainState
from funcnet.train._step import Info as Info
from funcnet.train._step import step as step
from funcnet.train._stop import EarlyStopping as EarlyStopping
from funcnet.train._stop import Outcome as Outcome
from funcnet.train._stop import Stop as Stop
from funcnet.train._weights import load_weights as load_weights
from funcnet.train._weights import save_weights as save_weights

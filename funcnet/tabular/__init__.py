"""From a table to a trained network that knows its columns, its scales and its classes."""

from funcnet.tabular._fit import Fitted as Fitted
from funcnet.tabular._fit import fit_table as fit_table
from funcnet.tabular._model import TableModel as TableModel
from funcnet.tabular._save import load_fitted as load_fitted

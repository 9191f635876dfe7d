"""From a table to a trained network that knows its columns, its scales and its classes."""

from funcnet.tabular._fit import Fitted as Fitted
from funcnet.tabular._fit import fit_table as fit_table
from funcnet.tabular._model import TableModel as TableModel
from funcnet.tabular._save import load_fitted as load_fitted
from funcnet.tabular._study import STUDIES as STUDIES
from funcnet.tabular._study import StudyReport as StudyReport
from funcnet.tabular._study import study_table as study_table
from funcnet.tabular._study import trainings as trainings

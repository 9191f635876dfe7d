"""Train networks on tables, and save them with their columns, scales and classes."""

from funcnet.tabular._column import Column as Column
from funcnet.tabular._features import Features as Features
from funcnet.tabular._fit import FitResult as FitResult
from funcnet.tabular._fit import fit_table as fit_table
from funcnet.tabular._model import TableModel as TableModel
from funcnet.tabular._save import load_table_model as load_table_model
from funcnet.tabular._schema import Schema as Schema
from funcnet.tabular._study import STUDIES as STUDIES
from funcnet.tabular._study import StudyReport as StudyReport
from funcnet.tabular._study import num_runs as num_runs
from funcnet.tabular._study import study_table as study_table
from funcnet.tabular._uncertainty import Uncertainty as Uncertainty

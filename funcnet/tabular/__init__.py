"""Tables: how their columns are read, what is trained on them, and studies of it."""

from funcnet.tabular._column import Column as Column
from funcnet.tabular._features import Features as Features
from funcnet.tabular._schema import Schema as Schema
from funcnet.tabular._study import STUDIES as STUDIES
from funcnet.tabular._study import StudyReport as StudyReport
from funcnet.tabular._study import num_runs as num_runs
from funcnet.tabular._study import study_table as study_table
from funcnet.tabular._uncertainty import Uncertainty as Uncertainty

from ._column import Column as Column
from ._features import Features as Features
from ._schema import Schema as Schema
from ._study import STUDIES as STUDIES
from ._study import StudyReport as StudyReport
from ._study import num_runs as num_runs
from ._study import study_table as study_table
from ._uncertainty import Uncertainty as Uncertainty

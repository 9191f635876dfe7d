"""Many trainings as one program, and the answers they give."""

from funcnet.study._cross_validate import CrossValidated as CrossValidated
from funcnet.study._cross_validate import cross_validate as cross_validate
from funcnet.study._ensemble import Ensemble as Ensemble
from funcnet.study._ensemble import EnsembleRun as EnsembleRun
from funcnet.study._ensemble import ensemble as ensemble
from funcnet.study._sweep import Swept as Swept
from funcnet.study._sweep import sweep as sweep

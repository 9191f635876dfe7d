from ._cross_validate import CrossValidated as CrossValidated
from ._cross_validate import cross_validate as cross_validate
from ._ensemble import Ensemble as Ensemble
from ._ensemble import EnsembleRun as EnsembleRun
from ._ensemble import ensemble as ensemble
from ._sweep import Swept as Swept
from ._sweep import sweep as sweep

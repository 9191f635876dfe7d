"""Reports: results as figures and tables. They read results and compute nothing new."""

from funcnet.report._figures import decision_surface as decision_surface
from funcnet.report._figures import history as history

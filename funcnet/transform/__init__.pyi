from ._find_nan import NotFinite as NotFinite
from ._find_nan import find_nan as find_nan
from ._lanes import lanes as lanes

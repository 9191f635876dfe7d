from ._lanes import lanes as lanes

from funcnet.transform._lanes import lanes as lanes

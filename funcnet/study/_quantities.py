"""The statistics of layers in a history: their names, titles and units."""

QUANTITIES = {
    "activation_mean": ("outputs: mean", "units of the layer"),
    "activation_std": ("outputs: standard deviation", "units of the layer"),
    "saturation": ("saturation: flat for a row", "share of entries"),
    "dead": ("dead: flat for every row", "share of units"),
    "gradient": ("gradient: root mean square", "loss / weight"),
    "update": ("update over weights", "ratio of norms"),
}
"""Title and unit of each quantity, by the first part of its names in a history."""


def quantity_of(name: str) -> str | None:
    """The quantity that a name in a history belongs to; None for a loss or a metric."""
    quantity, slash, _ = name.partition("/")
    return quantity if slash and quantity in QUANTITIES else None

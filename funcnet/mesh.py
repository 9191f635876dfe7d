"""Devices and processes: rows, members of ensembles, and models over many of them."""

from funcnet._mesh import cpu_devices as cpu_devices
from funcnet._mesh import shard_members as shard_members
from funcnet._mesh import use as use
from funcnet._processes import initialize as initialize
from funcnet._shard import shard as shard

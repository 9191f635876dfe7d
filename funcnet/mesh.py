"""Devices: batches sharded over their rows, ensembles over their members, models over their arrays."""

from funcnet._mesh import cpu_devices as cpu_devices
from funcnet._mesh import shard_members as shard_members
from funcnet._mesh import use as use
from funcnet._shard import shard as shard

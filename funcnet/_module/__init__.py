"""Modules, and functions of models."""

from funcnet._module._bare import as_module as as_module
from funcnet._module._bare import restore as restore
from funcnet._module._class import Module as Module
from funcnet._module._class import is_complete as is_complete
from funcnet._module._class import observe_calls as observe_calls
from funcnet._module._fields import Buffer as Buffer
from funcnet._module._freeze import freeze as freeze
from funcnet._module._freeze import frozen_leaves as frozen_leaves
from funcnet._module._freeze import label as label
from funcnet._module._freeze import unfreeze as unfreeze
from funcnet._module._model import call as call
from funcnet._module._model import check_complete as check_complete
from funcnet._module._model import check_model as check_model
from funcnet._module._model import check_trainable as check_trainable
from funcnet._module._model import count as count
from funcnet._module._model import is_parameter as is_parameter
from funcnet._module._model import modules as modules
from funcnet._module._model import needs_batch as needs_batch
from funcnet._module._model import requires_key as requires_key
from funcnet._module._model import shapes as shapes
from funcnet._module._model import trainable as trainable
from funcnet._module._select import Paths as Paths
from funcnet._module._select import select as select

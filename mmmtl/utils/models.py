"""The network inside its wrappers."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of distributed training (DDP, FSDP, mmengine's)."""
    while is_model_wrapper(model):
        model = model.module
    return model

"""Mixed precision on any device: autocast around the forward pass, no loss scaling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmmtl.errors import ConfigError
from mmmtl.ops.precision import bfloat16_is_faster
from mmmtl.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """mmengine's ``OptimWrapper`` with the forward pass under ``torch.autocast``, on a CPU as on an accelerator.

    bfloat16 has float32's range, so gradients need no scaling: weights, gradients, the optimiser's state and clipping
    stay float32, and checkpoints do not change. mmengine's ``AmpOptimWrapper`` (float16 with loss scaling) runs on
    accelerators only.

    Args:
        dtype: ``'bfloat16'`` or ``torch.bfloat16``; ``'float32'`` switches autocast off; ``'auto'``: bfloat16 where the
            device multiplies it faster (:func:`mmmtl.ops.precision.bfloat16_is_faster`), else float32.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of ``OptimWrapper``.

    Raises:
        ConfigError: Another dtype.
    """

    def __init__(self, dtype: str | torch.dtype = 'bfloat16', **kwargs: Any):
        if dtype == 'auto':
            dtype = torch.bfloat16 if bfloat16_is_faster(get_device()) else torch.float32
        resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if resolved not in (torch.bfloat16, torch.float32):
            raise ConfigError(
                f"AutocastOptimWrapper: dtype must be 'bfloat16', 'float32' or 'auto', got {dtype!r}. float16 "
                f"needs loss scaling: use dict(type='AmpOptimWrapper', dtype='float16') on a GPU."
            )
        super().__init__(**kwargs)
        self.dtype = resolved

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in ``dtype``, and hold back gradient synchronisation while accumulating."""
        device = next(model.parameters()).device.type
        with super().optim_context(model):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                yield

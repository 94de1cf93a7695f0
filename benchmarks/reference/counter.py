"""Multiply-accumulates in the convention of fvcore, which counts norms and resizes too."""

from __future__ import annotations

from math import prod

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ['FvcoreCounter']


class FvcoreCounter(TorchDispatchMode):
    """Counts what runs inside it; ``total`` is the sum."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run one operator and count it."""
        out = function(*args, **(kwargs or {}))
        packet = function._overloadpacket
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
        name = packet.__name__
        if 'batch_norm' in name:
            self.total += 2 * args[0].numel()
        elif name == 'native_layer_norm':
            self.total += 5 * args[0].numel()
        elif name == 'upsample_bilinear2d':
            self.total += 4 * prod(out.shape)
        return out

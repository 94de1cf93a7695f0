"""Programs written for a CPU, run on another device as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def moved(values: Any, device: torch.device) -> Any:
    """Nested containers with every tensor on ``device``."""
    if isinstance(values, Tensor):
        return values.to(device)
    if isinstance(values, Mapping):
        return {k: moved(v, device) for k, v in values.items()}
    return type(values)(moved(v, device) for v in values) if type(values) in (list, tuple) else values


_TO_NUMPY = {Tensor.numpy, Tensor.__array__}


class _OnDevice(TorchFunctionMode):
    """New tensors are made on the device; a CPU's generators draw on the CPU, so that their numbers stay."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get('generator')
        if isinstance(generator, torch.Generator) and generator.device.type != self.device.type:
            return self._drawn(func, args, kwargs)
        if func in _TO_NUMPY:
            return func(args[0].cpu(), *args[1:], **kwargs)
        return func(*args, **kwargs)

    def _drawn(self, func: Any, args: tuple, kwargs: dict) -> Tensor:
        given = moved(args, torch.device('cpu'))
        if func.__name__.endswith('_'):
            with torch.no_grad():
                return args[0].copy_(func(given[0], *given[1:], **kwargs))
        made = func.__name__ in ('rand', 'randn', 'randint', 'randperm', 'normal')
        return func(*given, **{**kwargs, **(dict(device='cpu') if made else {})}).to(self.device)


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Within it, tensors are made on the device ``name``, files of tensors included; numbers drawn stay the same."""
    device = torch.device(name)

    def there(function: Callable) -> Callable:
        return lambda *args, **kwargs: moved(function(*args, **kwargs), device)

    # neither asks the mode
    with patch.multiple(torch, load=there(torch.load), from_numpy=there(torch.from_numpy)), device, _OnDevice(device):
        yield

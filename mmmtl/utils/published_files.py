"""Reading the files of published code: tensors and plain containers are restored, everything else stays inert."""

from __future__ import annotations

import os.path as osp
import pickle
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mmmtl.errors import CheckpointError

_STATES = ('model', 'state_dict', 'net', 'model_state_dict')
_ALLOWED = {
    ('collections', 'OrderedDict'),
    ('collections', 'defaultdict'),
    ('builtins', 'set'),
    ('builtins', 'frozenset'),
    ('builtins', 'slice'),
    ('builtins', 'complex'),
    ('builtins', 'bytearray'),
    ('_codecs', 'encode'),
    ('torch', 'Size'),
    ('torch', 'device'),
    ('torch.serialization', '_get_layout'),
}


class Inert:
    """Stands for an object of a class that is not restored: takes any arguments and state, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Part of the protocol by which lists are restored."""

    def extend(self, items: Any) -> None:
        """Part of the protocol by which lists are restored."""


class _Unpickler(pickle.Unpickler):
    """Restores what a state dict is made of; any other name of the file becomes :class:`Inert`, and is never imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED or (module == 'torch._utils' and name.startswith('_rebuild_')):
            return super().find_class(module, name)
        if module == 'torch' and (name.endswith('Storage') or isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        if (module, name) == ('torch.storage', 'UntypedStorage'):
            return super().find_class(module, name)
        return Inert


_PICKLE = SimpleNamespace(
    Unpickler=_Unpickler,
    load=lambda file, **options: _Unpickler(file, **options).load(),
    __name__='mmmtl_restricted_pickle',
)


def read_published(path: str) -> dict[str, Tensor]:
    """State dict of a published checkpoint (``.pth``, ``.pth.tar``, ``.pt`` or ``.safetensors``).

    The file's other contents (optimizer, scheduler, objects of the authors' classes) are read past without importing or
    running anything they name.

    Raises:
        CheckpointError: Missing or broken file, or no state dict in it.
    """
    path = str(path)
    if not osp.isfile(path):
        raise CheckpointError(f"checkpoint '{path}' does not exist")
    if path.endswith('.safetensors'):
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content = torch.load(path, map_location='cpu', pickle_module=_PICKLE, weights_only=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' can't be read ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    for candidate in [content.get(key) for key in _STATES] + [content] if isinstance(content, dict) else []:
        if isinstance(candidate, dict) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            return dict(candidate)
    found = sorted(map(str, content))[:8] if isinstance(content, dict) else type(content).__name__
    raise CheckpointError(f"checkpoint '{path}' has no state dict under any of {_STATES}; it holds {found}")

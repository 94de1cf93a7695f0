"""mmmtl: multi-task dense prediction with diffusion decoders, in the OpenMMLab way."""

import importlib
from typing import Any

from mmmtl.compat import apply_shims
from mmmtl.version import __version__

apply_shims()

__all__ = ['__version__', 'get_model', 'list_backbones', 'list_datasets', 'list_models', 'list_tasks']


def __getattr__(name: str) -> Any:
    """What the package gives by name is imported when it is first asked for: ``import mmmtl`` stays quick."""
    if name in __all__:
        return getattr(importlib.import_module('mmmtl.catalogue'), name)
    raise AttributeError(f"module 'mmmtl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

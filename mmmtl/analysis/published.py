"""The transcriptions of published data flows in ``benchmarks/reference``, which a source tree has and a wheel has not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from mmengine.config import Config
from torch import nn

from mmmtl.errors import ConfigError

_PAIRS = {
    'TaskDiffusionDecoder': ('match', 'Pair'),
    'DiffusionMTLDecoder': ('match_diffusionmtl', 'DiffusionPair'),
    'LatentMultiTaskModel': ('match_latent', 'LatentPair'),
}


def reference_module(name: str) -> ModuleType:
    """Import ``benchmarks.reference.NAME`` from the source tree that the package lies in.

    Raises:
        ConfigError: The package was installed without it; says how to get it.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / 'benchmarks' / 'reference' / f'{name}.py').is_file():
        raise ConfigError(
            f'the transcriptions of the published data flows are not part of an installed package ({root}): clone the '
            'repository, `pip install -e .` in it, and run the command there'
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module(f'benchmarks.reference.{name}')


def published_line(cfg: Config, size: tuple[int, int]) -> str | None:
    """What the published data flow of a config's method computes, as text; None where there is no transcription of it."""
    try:
        module = reference_module('published_counts')
    except ConfigError:
        return 'the published data flow: counted in a clone of the repository alone'
    return module.published_line(cfg, size)


def pair_class(model: nn.Module) -> type:
    """The class that puts a network and the transcription of its method side by side.

    Raises:
        ConfigError: There is none of this network.
    """
    kind = type(getattr(model, 'decoder', model)).__name__
    if kind not in _PAIRS:
        raise ConfigError(f'there is no transcription of {kind}: leave out --reference')
    module, name = _PAIRS[kind]
    return getattr(reference_module(module), name)

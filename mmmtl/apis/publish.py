"""From a training checkpoint to a file worth sharing: weights and what they mean, nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmmtl.errors import CheckpointError, ConfigError
from mmmtl.version import __version__

from .checkpoint import auxiliary_prefixes, plain_state, read_checkpoint, write_state
from .model import build_model, forget_pretrained


def publish_model(source: str, target: str, drop_aux: bool = False) -> str:
    """Write the weights of a checkpoint without optimiser and logs.

    Args:
        source: Checkpoint of a training, ``.pth``.
        target: ``NAME.safetensors`` or ``NAME.pth``; the first eight digits of the weights' SHA-256 are
            added to the name.
        drop_aux: Leave out the auxiliary heads, which prediction does not use.

    Returns:
        Path of what was written: weights, the config and the package's version.

    Raises:
        CheckpointError: ``source`` is no checkpoint, or has no config in it where one is needed.
        ConfigError: ``target`` has another suffix.
    """
    suffix = Path(target).suffix
    if suffix not in ('.safetensors', '.pth'):
        raise ConfigError(f"'{target}' must end in .safetensors or .pth")
    content = read_checkpoint(source)
    state = {k: v.detach().cpu().contiguous() for k, v in plain_state(content).items()}
    meta = content.get('meta') or {}
    if drop_aux:
        prefixes = auxiliary_of(source, meta)
        state = {k: v for k, v in state.items() if not k.startswith(prefixes)}
    kept = {k: str(meta[k]) for k in ('cfg', 'mmengine_version') if k in meta}
    kept.update(format='pt', mmmtl_version=__version__, trained_iterations=str(meta.get('iter', 'unknown')))
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    path = f'{target[: -len(suffix)]}-{digest.hexdigest()[:8]}{suffix}'
    return write_state(path, state, kept)


def auxiliary_of(source: str, meta: dict[str, Any]) -> tuple[str, ...]:
    """Prefixes of the auxiliary heads of the network in a checkpoint's config."""
    if not isinstance(meta.get('cfg'), str):
        raise CheckpointError(
            f"checkpoint '{source}' has no config in it, so that its auxiliary heads are not known; publish it "
            f'without --drop-aux'
        )
    cfg = Config.fromstring(meta['cfg'], '.py')
    forget_pretrained(cfg.model)
    with torch.device('meta'):
        return auxiliary_prefixes(build_model(cfg, initialize=False))

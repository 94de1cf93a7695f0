"""From a training checkpoint to a file worth sharing: weights and what they mean, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from mmmtl.errors import CheckpointError, ConfigError, FileError
from mmmtl.registry import MODELS, look_up
from mmmtl.utils.stored_config import read_stored_config
from mmmtl.utils.tensor_files import state_digest
from mmmtl.version import __version__

from .checkpoint import plain_state, read_checkpoint, write_state


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
    kept = {k: str(meta[k]) for k in ('mmengine_version',) if k in meta}
    stored = read_stored_config(meta.get('cfg'))
    if stored:
        kept['cfg'] = json.dumps(stored, default=str)
    kept.update(format='pt', mmmtl_version=__version__, trained_iterations=str(meta.get('iter', 'unknown')))
    path = f'{target[: -len(suffix)]}-{state_digest(state, {})[:8]}{suffix}'
    return write_state(path, state, kept)


def auxiliary_of(source: str, meta: dict[str, Any]) -> tuple[str, ...]:
    """Prefixes of the auxiliary heads of the network whose config is in a checkpoint; the network is not built.

    Raises:
        CheckpointError: No config there, or one whose decoder is not among the registered ones.
    """
    model = read_stored_config(meta.get('cfg')).get('model')
    if not isinstance(model, dict):
        raise CheckpointError(
            f"checkpoint '{source}' has no config in it, so that its auxiliary heads are not known; publish it "
            f'without --drop-aux'
        )
    decoder = model.get('decoder')
    if not isinstance(decoder, dict):
        return ()
    try:
        kind = look_up(MODELS, decoder.get('type'), nn.Module)
    except FileError as error:
        raise CheckpointError(f"checkpoint '{source}': {error}") from error
    return tuple(f'decoder.{name}.' for name in getattr(kind, 'aux_modules', ()))

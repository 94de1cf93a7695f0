"""Pretrained weights that a config gives to a backbone of another package, looked at: what fits is there afterwards."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.errors import CheckpointError
from mmmtl.utils.tensor_files import read_state

_PREFIXES = ('backbone.', 'module.backbone.', 'encoder.', 'module.')
"""Of a backbone's parameters in checkpoints of whole networks (mmsegmentation's, mmpretrain's, of self-supervision)."""


def _local_file(backbone: Any) -> str | None:
    """The file that ``init_cfg`` names, if it is one on this machine."""
    init_cfg = getattr(backbone, 'init_cfg', None)
    if not isinstance(init_cfg, Mapping) or init_cfg.get('type') != 'Pretrained':
        return None
    path = str(init_cfg.get('checkpoint'))
    return path if '://' not in path and os.path.isfile(path) else None


@contextmanager
def pretrained_weights(backbone: Any) -> Iterator[None]:
    """See to it that the weights of ``init_cfg=dict(type='Pretrained', checkpoint=PATH)`` are loaded in the block.

    mmengine passes over weights whose names do not fit, so that a checkpoint of a whole network, whose names begin with
    ``backbone.``, leaves a backbone as it was drawn; some backbones stop at such names. In the block ``init_cfg`` names a
    file with the backbone's own names; afterwards what fits and has not been loaded is. Weights that the backbone has
    resized on its own stay. Files on other machines are left to mmengine.

    Args:
        backbone: A backbone whose weights are initialised in the block.

    Raises:
        CheckpointError: Not one of the file's weights is the backbone's.
    """
    path = _local_file(backbone)
    if path is None:
        yield
        return
    own, init_cfg = backbone.state_dict(), backbone.init_cfg
    content = read_state(path)
    state = _own_names(content, own, init_cfg.get('prefix'))
    resized = any(name in own and value.shape != own[name].shape for name, value in state.items())
    with tempfile.TemporaryDirectory() as folder:
        if not resized:  # nothing that the backbone would have to do
            backbone.init_cfg = None
        elif state.keys() != content.keys():
            torch.save(state, os.path.join(folder, 'backbone.pth'))
            backbone.init_cfg = dict(type='Pretrained', checkpoint=os.path.join(folder, 'backbone.pth'))
        try:
            yield
        finally:
            backbone.init_cfg = init_cfg
    _load_what_fits(backbone, state, path)


def _load_what_fits(backbone: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Load the weights of the backbone's own names and shapes, and tell how many they are."""
    own = backbone.state_dict()
    fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
    if not fitting:
        raise CheckpointError(
            f"model.backbone.init_cfg.checkpoint='{path}': not one of its {len(state)} tensors (such as "
            f'{sorted(state)[:2]}) is one of the {len(own)} of {type(backbone).__name__} (such as {sorted(own)[:2]})'
        )
    backbone.load_state_dict({**own, **fitting})
    others = {name for name in own if name in state} - set(fitting)
    told = f', {len(others)} of another shape (such as {sorted(others)[0]})' if others else ''
    print_log(f'Backbone: {len(fitting)} of {len(own)} tensors are those of {path}{told}', logger='current')
    if 2 * len(fitting) < len(own):
        drawn = sorted(set(own) - set(fitting))
        print_log(
            f'{len(drawn)} of the tensors of {type(backbone).__name__} are not in {path}, such as {drawn[:3]}',
            logger='current',
            level=logging.WARNING,
        )


def _own_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    """The state under the names that most of the backbone's tensors have, a common prefix taken off."""
    forms = [
        {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        for start in ([f'{prefix.rstrip(".")}.'] if prefix else ['', *_PREFIXES])
    ]
    return max(forms, key=lambda form: sum(torch.is_tensor(form.get(name)) for name in own))

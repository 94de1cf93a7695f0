"""Pretrained weights that a config gives to a backbone of another package, looked at: what fits is there afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.errors import CheckpointError
from mmmtl.utils.tensor_files import read_state

_PREFIXES = ('backbone.', 'module.backbone.', 'encoder.', 'module.')
"""Of a backbone's parameters in checkpoints of whole networks (mmsegmentation's, mmpretrain's, of self-supervision)."""


def load_what_fits(backbone: nn.Module) -> None:
    """Load the weights of ``init_cfg=dict(type='Pretrained', checkpoint=PATH)`` that the backbone has not loaded itself.

    mmengine passes over weights whose names do not fit, so that a checkpoint of a whole network, whose names begin with
    ``backbone.``, leaves a backbone as it was drawn. Weights that the backbone has resized on its own stay.

    Args:
        backbone: A backbone whose weights have been initialised. Files on other machines are left to mmengine.

    Raises:
        CheckpointError: Not one of the file's weights is the backbone's.
    """
    init_cfg = getattr(backbone, 'init_cfg', None)
    if not isinstance(init_cfg, Mapping) or init_cfg.get('type') != 'Pretrained':
        return
    path = str(init_cfg.get('checkpoint'))
    if '://' in path or not os.path.isfile(path):
        return
    own = backbone.state_dict()
    state = _own_names(read_state(path), own, init_cfg.get('prefix'))
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
        for start in ([prefix] if prefix else ['', *_PREFIXES])
    ]
    return max(forms, key=lambda form: sum(torch.is_tensor(form.get(name)) for name in own))

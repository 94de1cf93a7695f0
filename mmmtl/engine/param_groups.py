"""Options of single parameters: names that fit none, and options that nothing reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmmtl.errors import ConfigError, suggest

_PLACE = 'optim_wrapper.paramwise_cfg'
_OPTIONS = {
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
    'custom_keys',
}
_FACTORS = {'lr_mult', 'decay_mult'}


def check_paramwise(optim_wrapper: Mapping[str, Any], model: nn.Module) -> None:
    """See that ``paramwise_cfg`` of mmengine's constructor says something about the model's parameters.

    Raises:
        ConfigError: An option that the constructor does not read, or a part of a name that no parameter's name holds and that
            is nearly one of theirs; one that is like none is told in a warning.
    """
    options = optim_wrapper.get('paramwise_cfg') or {}
    own = str(optim_wrapper.get('constructor', DefaultOptimWrapperConstructor.__name__))
    keys = options.get('custom_keys') or {}
    if own == DefaultOptimWrapperConstructor.__name__:
        for place, given, known in [(_PLACE, options, _OPTIONS)] + [
            (f'{_PLACE}.custom_keys.{key}', factors, _FACTORS) for key, factors in keys.items()
        ]:
            for name in [name for name in given if name not in known]:
                raise ConfigError(f"{place}: there is no option '{name}'.{suggest(name, known)}")
    names = [name for name, _ in model.named_parameters()]
    for key in keys:
        if not any(str(key) in name for name in names):
            near = suggest(str(key), {part for name in names for part in name.split('.')})
            text = f"{_PLACE}.custom_keys: no parameter's name holds '{key}'.{near}"
            if near:
                raise ConfigError(text)
            print_log(text, 'current', logging.WARNING)  # of a part that is there with other tasks

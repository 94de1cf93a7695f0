"""From a config and a checkpoint to a network that predicts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from mmmtl.config.check import check_config
from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS, register_all_modules

from .checkpoint import load_checkpoint


def build_model(cfg: Config, check: bool = True, initialize: bool = True) -> nn.Module:
    """Build the network of a config, with its weights drawn as the config says.

    Args:
        cfg: The config; its ``model`` section is used.
        check: Check the section first, so that all its mistakes are reported at once.
        initialize: Draw or load the initial weights; without it they are whatever the layers' constructors
            left.

    Returns:
        The network in training mode; ``network.cfg`` is the config.
    """
    register_all_modules()
    if 'model' not in cfg:
        raise ConfigError(f"{cfg.filename or 'the config'} has no section 'model'")
    if check:
        check_config(cfg, parts=('model',))
    model = MODELS.build(cfg.model)
    if initialize and hasattr(model, 'init_weights'):
        with quiet():
            model.init_weights()
    model.cfg = cfg
    return model


def init_model(
    config: str | Path | Config,
    checkpoint: str | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network for prediction.

    Args:
        config: Path of a config file, or a config.
        checkpoint: ``.pth`` or ``.safetensors``; None leaves the weights as drawn (the config's
            ``pretrained`` backbone weights are loaded in that case alone).
        device: Where the network shall be.
        cfg_options: As ``--cfg-options``: ``{'model.decoder.steps': 1}``.

    Returns:
        The network in eval mode; ``network.cfg`` is the config, ``network.dataset_meta`` has the tasks.

    Raises:
        ConfigError: A mistake in the config or the options.
        CheckpointError: An unreadable checkpoint, or one of another network.
    """
    cfg = load_config(config, cfg_options)
    if checkpoint is not None:
        forget_pretrained(cfg.get('model'))
    model = build_model(cfg, initialize=checkpoint is None)
    if checkpoint is not None:
        load_checkpoint(model, str(checkpoint))
    model.dataset_meta = dict(tasks=model.tasks)
    return to_device(model, device).eval()


def to_device(model: nn.Module, device: str | torch.device) -> nn.Module:
    """Move a network.

    Raises:
        ConfigError: There is no such device on this machine; says which there are.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        names = ['cpu', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))]
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device '{device}': {reason} This machine has {', '.join(names)}.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back mmengine's report of how every single parameter was drawn."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def forget_pretrained(model: Any) -> None:
    """Switch off, in a network or its config, the loading of pretrained backbone weights that a checkpoint replaces anyway."""
    inside = vars(model)['_modules'] if isinstance(model, nn.Module) else model or {}
    backbone = inside.get('backbone')
    backbone = vars(backbone) if isinstance(backbone, nn.Module) else backbone
    if isinstance(backbone, MutableMapping):
        if backbone.get('pretrained') is True:
            backbone['pretrained'] = False
        if backbone.get('checkpoint'):
            backbone['checkpoint'] = None
        if isinstance(backbone.get('init_cfg'), Mapping) and backbone['init_cfg'].get('type') == 'Pretrained':
            backbone['init_cfg'] = None

"""What there is to choose from, by name: models, tasks, data sets, backbones."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from mmmtl.apis.model import forget_pretrained, init_model
from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError, NotFoundError, suggest
from mmmtl.hub import from_pretrained, list_shipped
from mmmtl.registry import DATASETS, MODELS, TASKS, Registry, register_all_modules
from mmmtl.utils.shipped import configs_folder


def list_models(pattern: str = '*') -> list[str]:
    """Names of the shipped experiments, which :func:`get_model` and every command (``mmmtl::NAME``) take.

    Args:
        pattern: Of shell style, matched against the whole name: ``'*pascal*'``, ``'taskdiffusion/*'``.
    """
    root = configs_folder()
    names = (p.relative_to(root).with_suffix('').as_posix() for p in root.glob('[!_]*/*.py'))
    return sorted(n for n in names if fnmatchcase(n, pattern) and not n.startswith('studies/'))


def get_model(
    name: str,
    pretrained: bool | str = False,
    checkpoint: str | None = None,
    device: str = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    revision: str | None = None,
) -> nn.Module:
    """A network, ready to predict; ``network.cfg`` is its config.

    Args:
        name: Of :func:`list_models`, for example ``taskdiffusion/vitl_pascal``; with ``pretrained=True`` also a folder of
            ``save_pretrained``, or ``OWNER/NAME`` on the hub.
        pretrained: True for trained weights: those that ship (:func:`~mmmtl.hub.list_shipped`), lie in the folder, or on
            the hub. ``'start'`` for the weights that the config trains from (a backbone of timm, Stable Diffusion), which
            may be downloaded. Without it all weights are drawn, and nothing is read.
        checkpoint: Trained weights, ``.pth`` or ``.safetensors``.
        device: Where the network shall be.
        cfg_options: Changes of the config: ``{'model.decoder.steps': 1}``.
        revision: Branch, tag or commit on the hub.

    Raises:
        ConfigError: No such name, with near ones; ``pretrained=True`` of a config without trained weights.
        NotFoundError: No such folder or repository, or no way to the hub.
        CheckpointError: A checkpoint that cannot be read, or is another network's.
    """
    if not isinstance(pretrained, bool) and pretrained != 'start':
        raise ConfigError(f"get_model: pretrained must be True, False or 'start', got {pretrained!r}")
    if pretrained is True:
        if checkpoint is not None:
            raise ConfigError('get_model: pretrained=True brings its own weights; leave it out, or the checkpoint')
        known = list_models()
        if name in known and name not in list_shipped():
            raise ConfigError(
                f"get_model: no trained weights of '{name}' ship (there are {', '.join(list_shipped())}). Those of its "
                "authors are converted by `mmmtl convert` and given as checkpoint=; pretrained='start' reads what its "
                'training starts from'
            )
        try:
            return from_pretrained(name, revision, device, cfg_options)
        except NotFoundError as error:
            raise NotFoundError(f'{error}{suggest(name, known)}') from error
    if revision is not None:
        raise ConfigError('get_model: revision goes with pretrained=True')
    cfg = load_config(f'mmmtl::{name}', cfg_options)
    if not pretrained and checkpoint is None:
        forget_pretrained(cfg.model)
        _forget_stable_diffusion(cfg.model)
    return init_model(cfg, checkpoint, device)


def _forget_stable_diffusion(model: Any) -> None:
    """Let a latent model draw what it would read: UNet, autoencoder, and tokens in place of the text encoder's."""
    for key in ('pretrained_unet', 'single_stream'):
        if key in model:
            model[key] = None
    if 'pretrained' in (model.get('autoencoder') or {}):
        model['autoencoder']['pretrained'] = None
    if model.get('tokens') and model['tokens']['type'] == 'TextTokens':
        model['tokens'] = dict(type='LearnedTokens')


def list_tasks(pattern: str = '*') -> list[str]:
    """Types of tasks, as configs name them (``dict(type='Depth')``), plug-ins' included."""
    return _names(TASKS, pattern)


def list_datasets(pattern: str = '*') -> list[str]:
    """Types of data sets, as configs name them, plug-ins' included."""
    return _names(DATASETS, pattern)


def list_backbones(pattern: str = '*') -> list[str]:
    """Types of backbones; with a pattern that begins with ``timm/``, the networks that ``TimmBackbone`` takes by name.

    Those of mmsegmentation are reached as ``mmseg.NAME``, where it is installed.
    """
    if pattern.startswith('timm/'):
        import timm

        return [f'timm/{name}' for name in timm.list_models(pattern.removeprefix('timm/'))]
    home = 'mmmtl.models.backbones'
    return [n for n in _names(MODELS, pattern) if MODELS.module_dict[n].__module__.startswith(home)]


def _names(registry: Registry, pattern: str) -> list[str]:
    """Names in a registry, of this package and of plug-ins, that match."""
    register_all_modules(set_scope=False)
    return sorted(name for name in registry.module_dict if fnmatchcase(name, pattern))

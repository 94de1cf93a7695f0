"""Multiply-accumulates of the published data flows, as their papers' tables count them.

TaskDiffusion's figure is of convolutions and linear layers. DiffusionMTL's follows fvcore, which counts a convolution or
matrix product as its multiply-accumulates, a batch norm in evaluation as 2 per value, a layer norm as 5, a bilinear resize
as 4 per value that comes out, and nothing for the rest. The papers call the sums "FLOPs".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.config import Config

from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS
from mmmtl.tasks import build_tasks

from .compared_counts import METHODS, compared_counts
from .counter import FvcoreCounter
from .diffusionmtl import DiffusionMTL, Setting
from .match import count_of_config

__all__ = ['count_prediction', 'count_published', 'published_line']


def published_model(cfg: Config) -> torch.nn.Module:
    """The literal transcription where a config's network has one, else the network itself."""
    model = cfg.model.to_dict()
    decoder, backbone = model['decoder'], model['backbone']
    backbone.pop('pretrained', None)
    if decoder['type'] != 'DiffusionMTLDecoder':
        return MODELS.build(model)
    channels = {n: t.out_channels for n, t in build_tasks(cfg.tasks).items()}
    reference = DiffusionMTL(
        Setting(
            channels,
            decoder.get('mode', 'feature'),
            model['neck']['channels'],
            decoder.get('denoiser', {}).get('hidden', 512),
            decoder.get('num_steps', 2),
        )
    )
    if backbone.get('model_name') != 'resnet18':
        other = MODELS.build(backbone)
        if other.strides != [4, 8, 16, 32]:
            raise ConfigError(f'DiffusionMTL was published for residual networks, {backbone} is none')
        reference.backbone = other
        reference.backbone_embed = torch.nn.Conv2d(sum(other.out_channels), reference.s.width, 3, padding=1)
    return reference


def count_published(cfg: Config, size: tuple[int, int] = (512, 512)) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one prediction on one image of (H, W).

    Raises:
        ConfigError: A DiffusionMTL whose backbone the transcription does not have.
    """
    with torch.device('meta'), torch.no_grad():
        model = published_model(cfg).eval()
        return sum(p.numel() for p in model.parameters()), count_prediction(model, (1, 3, *size))


def count_prediction(model: torch.nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of one prediction of a network on the meta device, on images (B, 3, H, W)."""
    images = torch.zeros(*shape, device='meta')
    with torch.no_grad(), FvcoreCounter() as counter:
        if isinstance(model, DiffusionMTL):
            model.forward_eval(images, lambda kind, task, sample, like: torch.zeros_like(like))
        else:
            model(images)
    return counter.total


def residual(cfg: Config) -> bool:
    """Whether the backbone is one of the residual networks that DiffusionMTL and its baseline were published on."""
    return str(cfg.model.backbone.model_name).startswith('resnet')


def published_line(cfg: Config, size: tuple[int, int]) -> str | None:
    """The counts of a config's method as text; None where there is no transcription of it."""
    decoder = cfg.model.get('decoder', {}).get('type')
    if decoder == 'TaskDiffusionDecoder':
        counts = count_of_config(cfg, size)
        if counts is None:
            return None
        return (
            f'the published data flow: {counts.parameters:,} parameters without auxiliary heads, '
            f'{counts.layers / 1e9:.1f} G in convolutions and linear layers '
            f'(and {counts.discarded / 1e9:.1f} G whose result is discarded)'
        )
    if decoder in METHODS:
        compared = compared_counts(cfg, size)
        return compared and (
            f'the published data flow ({METHODS[decoder]}): {compared[0] / 1e9:.2f} G in convolutions and linear layers, '
            f'{compared[1] / 1e9:.2f} G with attention'
        )
    if decoder not in ('DiffusionMTLDecoder', 'PlainDecoder') or 'model_name' not in cfg.model.backbone:
        return None
    if decoder == 'PlainDecoder' and (cfg.model.decoder.get('block', 'basic') != 'basic' or not residual(cfg)):
        return None  # of TaskDiffusion's baseline there is a sentence alone
    try:
        parameters, operations = count_published(cfg, size)
    except ConfigError:  # a backbone that the method was not published on
        return None
    return (
        f'the published data flow: {parameters:,} parameters, {operations / 1e9:.1f} G multiply-accumulates '
        'in the convention of fvcore'
    )

"""Published MTI-Net checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state

_LEVELS = ((1, 0), (2, 1), (3, 2))


def _block(old: str, new: str) -> list[tuple[str, str | None]]:
    groups = old.count('(') - old.count('(?')
    return [
        (rf'{old}\.downsample\.(\d)\.(\w+)', rf'{new}.shortcut.\{groups + 1}.\{groups + 2}'),
        (rf'{old}\.(conv\d|bn\d)\.(\w+)', rf'{new}.\{groups + 1}.\{groups + 2}'),
    ]


RULES: list[tuple[str, str | None]] = [
    *(
        rule
        for k, j in _LEVELS
        for rule in _block(rf'fpm_scale_{k}\.non_linear\.(\d)', rf'decoder.propagate.{j}.mask.\1')
    ),
    *((rf'fpm_scale_{k}\.non_linear\.2\.(\w+)', rf'decoder.propagate.{j}.mask.2.\1') for k, j in _LEVELS),
    *(
        rule
        for k, j in _LEVELS
        for rule in _block(rf'fpm_scale_{k}\.dimensionality_reduction', rf'decoder.propagate.{j}.shared')
    ),
    *(
        (rf'fpm_scale_{k}\.se\.(\w+)\.squeeze\.(\d)\.(\w+)', rf'decoder.propagate.{j}.gates.\1.\2.\3')
        for k, j in _LEVELS
    ),
    *_block(r'scale_(\d)\.refinement\.(\w+)\.(\d)', r'decoder.refine.\1.\2.\3'),
    (r'scale_(\d)\.decoders\.(.+)', r'decoder.initial.\1.\2'),
    (
        r'distillation_scale_(\d)\.self_attention\.(\w+)\.(\w+)\.attention\.0\.weight',
        r'decoder.distill.\1.gate.\2.\3.weight',
    ),
    (r'distillation_scale_(\d)\.self_attention\.(\w+)\.(\w+)\.conv\.weight', r'decoder.distill.\1.value.\2.\3.weight'),
    (r'heads\.(\w+)\.last_layer\.(\d)\.(\w+)', r'decoder.heads.\1.\2.\3'),
]


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; the backbone is mmsegmentation's HRNet or timm's ResNet."""
    body = 'backbone.' if any('backbone.transition1.' in key for key in state) else 'backbone.body.'
    return rename_state(state, [(r'backbone\.(.+)', rf'{body}\1'), *RULES], names)


@CONVERTERS.register_module('mtinet')
class MTINetConverter(Converter):
    """Reads the published MTI-Net checkpoints."""

    convert = staticmethod(convert)

"""Published TaskDiffusion checkpoints → this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.models.layers.mlore_names import block_rules
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_without_class_token

_TIMED = [('conv_1', 'conv3'), ('conv_2', 'conv1'), ('norm', 'norm.norm'), (r'time_mlp\.1', 'norm.film')]
_POINTWISE = [('conv_1', 'conv1'), ('conv_2', 'conv3'), *_TIMED[2:]]
_FPN = r'heads\.fpn_encoder'
_OURS = 'decoder.denoiser'
_RELATION = rf'{_OURS}.task_interaction.\1.relation'


def _each(old: str, new: str, parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(rf'{old}\.{a}\.(\w+)', rf'{new}.{b}.\{re.compile(old).groups + 1}') for a, b in parts]


RULES: list[tuple[str, str | None]] = [
    (r'backbone\.fea_fuse\.(.+)', r'neck.projections.\1'),
    (r'backbone\.(.+)', r'backbone.body.\1'),
    (r'heads\.embedding_tables\.(.+)', r'decoder.label_encoder.tables.\1'),
    (r'heads\.invalid_embedding_tables\.(\w+)\.weight', r'decoder.label_encoder.unknown.\1'),
    (r'heads\.embed_all\.(.+)', r'decoder.label_encoder.mix.\1'),
    (r'heads\.time_mlp\.0\.weights', r'decoder.time_embedding.frequencies'),
    (r'heads\.time_mlp\.1\.(.+)', r'decoder.time_embedding.fc1.\1'),
    (r'heads\.time_mlp\.3\.(.+)', r'decoder.time_embedding.fc2.\1'),
    (r'heads\.transforms\.conv_transforms\.(.+)', rf'{_OURS}.image.\1'),
    (r'heads\.pred_heads\.(\w+)\.(\w+)', r'decoder.branches.\1.head.\2'),
    *_each(r'heads\.encoders\.(\d+)\.(\w+)', r'decoder.branches.\2.blocks.\1', _TIMED),
    *_each(rf'{_FPN}\.share_fpn\.fpn_conv\.(\d+)\.(\d+)', rf'{_RELATION}.blocks.\2', _TIMED),
    *_each(rf'{_FPN}\.mask_task\.(\d+)', _RELATION, [('conv_1', 'conv'), *_TIMED[2:]]),
    *_each(rf'{_FPN}\.specific_head\.(\d+)\.(\w+)', rf'{_OURS}.post_interaction.\1.\2', _POINTWISE),
    *_each(rf'{_FPN}\.fpn_mask\.(\w+)', rf'{_OURS}.level_interaction.\1', _POINTWISE),
    # conditions of the MLoRE variant: level, block, then the part
    *block_rules(rf'{_FPN}\.feat_task\.(\d+)\.(\d+)', r'decoder.conditions.levels.\1.\2', 3),
    # conditions of the plain variant: level, task, then the place in a sequence of two blocks
    *(
        (
            rf'{_FPN}\.feat_task\.(\d+)\.(\w+)\.{n}\.(\w+)',
            rf'decoder.conditions.levels.\1.\2.{n // 4}.{("conv3", "norm.norm", "", "conv1")[n % 4]}.\3',
        )
        for n in (0, 1, 3, 4, 5, 7)
    ),
    *_each(
        r'heads\.aux_heads\.(\w+)\.0',
        r'decoder.aux_heads.\1',
        [
            ('conv_1', 'conv3'),
            ('conv_2', 'conv1'),
            ('conv_3', 'skip'),
            ('norm', 'norm.norm'),
            (r'task_mask\.0', 'conv1'),
            (r'task_mask\.1', 'norm.norm'),
            (r'task_mask\.3', 'conv3'),
        ],
    ),
    (r'heads\.aux_heads\.(\w+)\.1\.(\w+)', r'decoder.aux_heads.\1.head.\2'),
]
"""``(pattern of the whole published key, replacement)``, tried in order; task names are translated afterwards."""


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict (with or without the ``module.`` of distributed training).

    Two entries also change their form: the position embedding loses its dead slot 0, and the entry convolution of each
    level is split into its image half and its noisy half.

    Args:
        state: Published names → tensors; any part of a checkpoint, also gradients under the same names.
        names: Published task names → names in this model.

    Returns:
        Renamed state dict, dropped entries (the position of a class token that the network never had), unknown keys.
    """
    renamed, dropped, unknown = rename_without_class_token(state, RULES, names)
    for key, value in list(renamed.items()):
        if '.unknown.' in key:
            renamed[key] = value.reshape(-1)
        elif '.denoiser.image.' in key and value.ndim == 4:
            width = value.shape[0]
            renamed[key], renamed[key.replace('.image.', '.noisy.')] = value[:, :width], value[:, width:]
    return renamed, dropped, unknown


@CONVERTERS.register_module('taskdiffusion')
class TaskDiffusionConverter(Converter):
    """Reads the published TaskDiffusion checkpoints."""

    convert = staticmethod(convert)

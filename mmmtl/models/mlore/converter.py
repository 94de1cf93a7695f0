"""Published MLoRE checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_without_class_token

_BLOCK = r'backbone\.MLoRE_{n}\.(\d+)'
_ROUTER = (
    ('conv1', 'local'),
    ('ln', 'local_norm'),
    ('conv3', 'local_out'),
    ('convsp', 'spatial'),
    ('ln_sp', 'spatial_norm'),
    ('conv2', 'spatial_out'),
)


def _block_rules(n: int) -> list[tuple[str, str | None]]:
    """Rules of the first (1) or second (2) block of every level."""
    old, new = _BLOCK.format(n=n), rf'decoder.conditions.levels.\1.{n - 1}'
    return [
        (rf'{old}\.share_conv\.(\w+)', rf'{new}.shared.\2'),
        *(
            (rf'{old}\.lora_list_1\.(\d+)\.{a}\.(\w+)', rf'{new}.experts.\2.{b}.\3')
            for a, b in (('W', 'down'), ('M', 'up'))
        ),
        *((rf'{old}\.conv2\.(\w+)\.{a}\.(\w+)', rf'{new}.own.\2.{b}.\3') for a, b in (('W', 'down'), ('M', 'up'))),
        (rf'{old}\.conv1\.(.+)', rf'{new}.enter.\2'),
        (rf'{old}\.conv3\.(.+)', rf'{new}.leave.\2'),
        (rf'{old}\.bn\.(\w+)\.(\w+)', rf'{new}.norm.\2.norm.\3'),
        (rf'{old}\.bn_all\.(\w+)\.(\w+)', rf'{new}.expert_norm.\2.norm.\3'),
        *((rf'{old}\.router_1\.(\w+)\.0\.{a}\.(\w+)', rf'{new}.router.\2.{b}.\3') for a, b in _ROUTER),
        (rf'{old}\.router_1\.(\w+)\.1\.(\w+)', rf'{new}.router.\2.gate.\3'),
    ]


RULES: list[tuple[str, str | None]] = [
    (r'backbone\.(q_fuse|classify_route_[12])\..+', None),  # never used
    (r'aux_heads\..+', None),
    (r'backbone\.fea_fuse\.(.+)', r'neck.projections.\1'),
    *_block_rules(1),
    *_block_rules(2),
    (r'backbone\.task_mask\.(.+)', r'decoder.level_mask.\1'),
    (r'backbone\.(.+)', r'backbone.body.\1'),
    (r'heads\.(\w+)\.mt_proj\.([01])\.(\w+)', r'decoder.heads.\1.\2.\3'),
    (r'heads\.(\w+)\.linear_pred\.(\w+)', r'decoder.heads.\1.3.\2'),
]


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; its position embedding loses the dead slot of a class token it never had."""
    return rename_without_class_token(state, RULES, names)


@CONVERTERS.register_module('mlore')
class MLoREConverter(Converter):
    """Reads the published MLoRE checkpoints."""

    convert = staticmethod(convert)

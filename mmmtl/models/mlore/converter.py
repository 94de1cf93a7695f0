"""Published MLoRE checkpoints → this package's names."""

from __future__ import annotations

from mmmtl.models.converter import Converter
from mmmtl.models.layers.mlore_names import block_rules
from mmmtl.registry import CONVERTERS

RULES: list[tuple[str, str | None]] = [
    (r'backbone\.(q_fuse|classify_route_[12])\..+', None),  # never used
    (r'aux_heads\..+', None),
    (r'backbone\.fea_fuse\.(.+)', r'neck.projections.\1'),
    *(
        rule
        for n in (0, 1)
        for rule in block_rules(rf'backbone\.MLoRE_{n + 1}\.(\d+)', rf'decoder.conditions.levels.\1.{n}', 2)
    ),
    (r'backbone\.task_mask\.(.+)', r'decoder.level_mask.\1'),
    (r'backbone\.(.+)', r'backbone.body.\1'),
    (r'heads\.(\w+)\.mt_proj\.([01])\.(\w+)', r'decoder.heads.\1.\2.\3'),
    (r'heads\.(\w+)\.linear_pred\.(\w+)', r'decoder.heads.\1.3.\2'),
]


@CONVERTERS.register_module('mlore')
class MLoREConverter(Converter):
    """Reads the published MLoRE checkpoints."""

    ordered = False
    rules = RULES
    dead_class_token = True

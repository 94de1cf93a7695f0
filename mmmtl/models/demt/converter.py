"""Published DeMT checkpoints → this package's names."""

from __future__ import annotations

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS

_HEAD = r'(?:head\.)?'
_MIXER = rf'{_HEAD}defor_mixers\.(\d+)\.blocks\.(\d+)'

RULES: list[tuple[str, str | None]] = [
    (r'backbone\.(.+)', r'backbone.\1'),
    (rf'{_HEAD}linear1\.0\.(\w+)', r'decoder.reduce.\1'),
    (rf'{_HEAD}linear1\.1\.(\w+)', r'decoder.norm.\1'),
    (rf'{_MIXER}\.3\.fn\.0\.offset', None),  # never read
    *(
        (rf'{_MIXER}\.{old}\.(\w+)', rf'decoder.mixers.@\1.\2.{new}.\3')
        for old, new in (
            ('0', 'pointwise'),
            ('2', 'norm1'),
            (r'3\.fn\.0\.get_offset\.p_conv', 'deformable.places'),
            (r'3\.fn\.0\.get_offset\.opt', 'deformable.offsets'),
            (r'3\.fn\.0', 'deformable'),
            (r'3\.fn\.2', 'norm2'),
        )
    ),
    (rf'{_HEAD}task_fusion\.(.+)', r'decoder.fusion.\1'),
    (rf'{_HEAD}smlp\.(.+)', r'decoder.fused.\1'),
    (rf'{_HEAD}smlp2\.(\d+)\.(.+)', r'decoder.asked.@\1.\2'),
    (rf'{_HEAD}task_querys\.(\d+)\.(.+)', r'decoder.queries.@\1.\2'),
    *(
        (rf'{_HEAD}bottleneck\.(\w+)\.{part}\.(\w+)', rf'decoder.project.\1.{i}.\2')
        for i, part in enumerate(('conv', 'bn'))
    ),
    (rf'{_HEAD}final_logits\.(.+)', r'decoder.heads.\1'),
]


@CONVERTERS.register_module('demt')
class DeMTConverter(Converter):
    """Reads the published DeMT checkpoints."""

    ordered = False
    rules = RULES

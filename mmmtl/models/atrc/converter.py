"""Published ATRC checkpoints → this package's names."""

from __future__ import annotations

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS

_HEADS = (('bottleneck', 'features'), ('aux_conv', 'label_conv'), (r'atrc_module\.out_proj', 'contexts_out'))
_PARTS = (('conv', 0), ('bn', 1))

RULES: list[tuple[str, str | None]] = [
    (r'criterion\..+', None),
    (r'backbone\.(.+)', r'backbone.\1'),  # mmsegmentation's names
    *(
        (rf'head\.{old}\.(\w+)\.{part}\.(\w+)', rf'decoder.{new}.\1.{i}.\2')
        for old, new in _HEADS
        for part, i in _PARTS
    ),
    *((rf'head\.atrc_module\.bottleneck\.(\w+)\.0\.{part}\.(\w+)', rf'decoder.fuse.\1.{i}.\2') for part, i in _PARTS),
    *(
        (
            rf'head\.atrc_module\.cp_blocks\.(\w+)\.(\w+)\.{kind}_project\.(\d)\.{part}\.(\w+)',
            rf'decoder.contexts.\1.\2.{kind}.\3.{i}.\4',
        )
        for kind in ('query', 'key')
        for part, i in _PARTS
    ),
    *(
        (
            rf'head\.atrc_module\.cp_blocks\.(\w+)\.(\w+)\.value_project\.{part}\.(\w+)',
            rf'decoder.contexts.\1.\2.value.{i}.\3',
        )
        for part, i in _PARTS
    ),
    (r'head\.aux_logits\.(.+)', r'decoder.label_logits.\1'),
    (r'head\.final_logits\.(.+)', r'decoder.heads.\1'),
]


@CONVERTERS.register_module('atrc')
class ATRCConverter(Converter):
    """Reads the published ATRC checkpoints."""

    rules = RULES

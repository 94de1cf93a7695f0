"""Published MQTransformer checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state

_HEAD = r'(?:head\.)?'
_BLOCK = rf'{_HEAD}parts_query_encoder_decoder_blocks\.0'
_STACKED = {'rpn_tokens': 'query', 'rpn_qpos': 'query_code', 'rpn_kpos': 'key_code'}
"""One tensor per task in the file, one for all tasks here."""

RULES: list[tuple[str, str | None]] = [
    (r'backbone\.(.+)', r'backbone.\1'),
    # computed and never used, or never reached
    (rf'{_HEAD}patch_embed\..+', None),
    (rf'{_BLOCK}\.decoder1\.(attn2|rel_pos)\..+', None),
    (rf'{_HEAD}linears\.(\d+)\.(\w+)', r'decoder.reduce.@\1.\2'),
    *((rf'{_BLOCK}\.{old}\.(\d+)', rf'decoder.{new}.@\1') for old, new in _STACKED.items()),
    *(
        (rf'{_BLOCK}\.{old}\.(.+)', rf'decoder.{new}.\1')
        for old, new in (
            (r'encoder1\.enc_attn', 'encode_attention'),
            (r'encoder1\.reason\.norm', 'encode_norm'),
            (r'encoder1\.reason\.linear', 'encode_linear'),
            (r'encoder1\.enc_ffn', 'encode_mlp'),
            ('mhsa_1', 'cross_attention'),
            ('norm_layer', 'cross_norm'),
            ('ffn_mlp', 'cross_mlp'),
            (r'decoder1\.attn1', 'decode_attention'),
            (r'decoder1\.ffn1', 'decode_mlp1'),
            (r'decoder1\.ffn2', 'decode_mlp2'),
            (r'decoder1\.mhsa', 'decode_self'),
        )
    ),
    *(
        (rf'{_HEAD}bottleneck\.(\w+)\.{part}\.(\w+)', rf'decoder.project.\1.{i}.\2')
        for i, part in enumerate(('conv', 'bn'))
    ),
    (rf'{_HEAD}final_logits\.(.+)', r'decoder.heads.\1'),
]


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; queries and codes of the tasks are stacked, and a convolution becomes linear."""
    renamed, dropped, unknown = rename_state(state, RULES, names)
    for name in _STACKED.values():
        keys = [f'decoder.{name}.{task}' for task in dict.fromkeys(names.values())]
        if parts := [renamed.pop(key) for key in keys if key in renamed]:
            renamed[f'decoder.{name}'] = torch.stack([p.flatten(2)[0] if p.ndim == 4 else p[0] for p in parts])
    key = 'decoder.encode_linear.weight'
    if key in renamed:
        renamed[key] = renamed[key].reshape(renamed[key].shape[:2])
    return renamed, dropped, unknown


@CONVERTERS.register_module('mqtransformer')
class MQTransformerConverter(Converter):
    """Reads the published MQTransformer checkpoints."""

    ordered = False
    convert = staticmethod(convert)

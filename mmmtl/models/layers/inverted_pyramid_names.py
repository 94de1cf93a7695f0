"""Published names of the inverted pyramid transformer, as InvPT and TSP-Transformer have them."""

from __future__ import annotations

_STAGE = r'multi_task_decoder\.invpt\.invpt_stages\.(\d+)'
_BLOCK = rf'{_STAGE}\.blocks\.0'

RULES: list[tuple[str, str | None]] = [
    # computed and never used, or never reached
    (r'multi_task_decoder\.(scale_embed\.2|invpt\.norm_mt|invpt\.redu_chan\.0)\..+', None),
    (r'multi_task_decoder\.invpt\.invpt_stages\.0\.blocks\.0\.attn\.fuse_attn\..+', None),
    (r'backbone\.(.+)', r'backbone.body.\1'),
    *(
        (rf'multi_task_decoder\.preliminary_decoder\.(\w+)\.(\d)\.{old}\.(\w+)', rf'decoder.preliminary.\1.\2.{new}.\3')
        for old, new in (('conv', 0), ('bn1', 1))
    ),
    (r'multi_task_decoder\.intermediate_head\.(.+)', r'decoder.preliminary_heads.\1'),
    (r'multi_task_decoder\.scale_embed\.0\.(\w+)', r'decoder.skips.1.\1'),
    (r'multi_task_decoder\.scale_embed\.1\.(\w+)', r'decoder.skips.0.\1'),
    (r'multi_task_decoder\.invpt\.mix_proj\.(\w+)\.0\.(\w+)', r'decoder.mix.\1.\2'),
    *(
        (rf'{_STAGE}\.patch_embed\.(\d+)\.proj\.{old}\.(\w+)', rf'decoder.stages.\1.refine.@\2.{new}.\3')
        for old, new in ((1, '0.0'), (2, '0.1'), (4, '1.0'), (5, '1.1'))
    ),
    *(
        (rf'{_BLOCK}\.attn\.conv_proj_q\.(\d+)\.{old}\.(\w+)', rf'decoder.stages.\1.attention.query_conv.@\2.{new}.\3')
        for old, new in (('conv', 0), ('bn', 1))
    ),
    *(
        (rf'{_BLOCK}\.{old}\.(\w+)', rf'decoder.stages.\1.{new}.\2')
        for old, new in (
            (r'attn\.proj_q', 'attention.query'),
            (r'attn\.proj_k', 'attention.key'),
            (r'attn\.proj_v', 'attention.value'),
            (r'attn\.proj', 'attention.out'),
            (r'attn\.fuse_attn', 'attention.fuse'),
            ('norm1', 'norm1'),
            ('norm2', 'norm2'),
            (r'mlp\.fc1', 'mlp.0'),
            (r'mlp\.fc2', 'mlp.2'),
        )
    ),
    (r'multi_task_decoder\.invpt\.norm_mts\.(.+)', r'decoder.norms.\1'),
    *((rf'multi_task_decoder\.invpt\.redu_chan\.{i}\.(\d+)\.(\w+)', rf'decoder.reduce.{i - 1}.@\1.\2') for i in (1, 2)),
    (r'multi_task_decoder\.invpt\.mt_proj\.(.+)', r'decoder.project.\1'),
    (r'heads\.(\w+)\.linear_pred\.(\w+)', r'decoder.heads.\1.\2'),
]

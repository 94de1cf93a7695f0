"""Published TaskPrompter checkpoints → this package's names."""

from __future__ import annotations

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS

RULES: list[tuple[str, str | None]] = [
    (r'backbone\.task_prompts', 'backbone.prompts'),
    (r'backbone\.blocks\.(\d+)\.attn\.token_trans\.(\w+)', r'backbone.to_positions.\1.\2'),
    (r'backbone\.blocks\.(\d+)\.attn\.token_trans1\.(\w+)', r'backbone.from_positions.\1.\2'),
    (r'backbone\.fea_decode_spa\.(\d+)\.(\w+)\.0\.(\w+)', r'decoder.spatial.\1.\2.\3'),
    (r'backbone\.fea_decode_chan\.(\d+)\.(\w+)\.0\.(\w+)', r'decoder.channel.\1.\2.\3'),
    (r'backbone\.fea_fuse\.(.+)', r'decoder.fuse.\1'),
    (r'backbone\.ctr_attn_conv\.(.+)', r'decoder.reweight.\1'),
    (r'backbone\.(.+)', r'backbone.body.\1'),
    (r'heads\.(\w+)\.mt_proj\.([01])\.(\w+)', r'decoder.heads.\1.\2.\3'),
    (r'heads\.(\w+)\.linear_pred\.(\w+)', r'decoder.heads.\1.3.\2'),
]


@CONVERTERS.register_module('taskprompter')
class TaskPrompterConverter(Converter):
    """Reads the published TaskPrompter checkpoints."""

    rules = RULES
    dead_class_token = True

"""Published TaskPrompter checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_without_class_token

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


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; its position embedding loses the dead slot of a class token it never had."""
    return rename_without_class_token(state, RULES, names)


@CONVERTERS.register_module('taskprompter')
class TaskPrompterConverter(Converter):
    """Reads the published TaskPrompter checkpoints."""

    convert = staticmethod(convert)

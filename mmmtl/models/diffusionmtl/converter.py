"""Published DiffusionMTL checkpoints → this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state

_BLOCK = dict(norm1='query_norm', norm_kv='source_norm', norm2='mlp_norm', norm2_kv='source_mlp_norm')
_BLOCK.update({'attn.q': 'query', 'attn.kv': 'key_value', 'attn.proj': 'out'})
_BLOCK.update({f'{a}.fc{i + 1}': f'{b}.{2 * i}' for a, b in (('mlp', 'mlp'), ('mlp_kv', 'source_mlp')) for i in (0, 1)})
_DENOISER = 'diffusion_model.denoiser'

RULES: list[tuple[str, str | None]] = [
    (r'backbone\.(?!embed)(.+)', r'backbone.body.\1'),
    (r'backbone_embed\.(.+)', r'neck.conv.\1'),
    (r'preliminary_dec\.(<task>)\.(.+)', r'decoder.preliminary.\1.\2'),
    (r'preliminary_head\.(<task>)\.0\.(.+)', r'decoder.preliminary_heads.\1.\2'),
    (r'diffusion_model\.pred_combinator\.out_layer\.(.+)', r'decoder.combine.\1'),
    *(
        (rf'{_DENOISER}\.crossblocks\.(\d)\.{re.escape(old)}\.(weight|bias)', rf'decoder.denoiser.blocks.\1.{new}.\2')
        for old, new in _BLOCK.items()
    ),
    (rf'{_DENOISER}\.pre_layer\.(<task>)\.(.+)', r'decoder.denoiser.encoders.\1.\2'),
    (rf'{_DENOISER}\.task_heads\.(<task>)\.(.+)', r'decoder.denoiser.refiners.\1.\2'),
    (rf'{_DENOISER}\.final_task_heads\.(<task>)\.linear_pred\.(.+)', r'decoder.denoiser.heads.\1.\2'),
    (rf'{_DENOISER}\.t_embedder\.mlp\.(.+)', r'decoder.denoiser.step_embedding.layers.\1'),
]
"""``(pattern of the whole published key, replacement)``; ``<task>`` is the published name of any task of the model."""

DROPPED = (
    r'diffusion_model\.(betas|alphas_cumprod(_prev)?|(sqrt_|log_)?(one_minus_|recip_|recipm1_)?alphas_cumprod'
    r'|posterior_(variance|log_variance_clipped|mean_coef[12]))'
)
"""The schedule's buffers: computed from the config here."""


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict (with or without the ``module.`` of distributed training).

    Args:
        state: Published names → tensors.
        names: Published task names → names in this model.

    Returns:
        Renamed state dict, dropped keys, unknown keys.
    """
    tasks = '|'.join(map(re.escape, names))
    return rename_state(state, [(DROPPED, None), *((old.replace('<task>', tasks), new) for old, new in RULES)], names)


@CONVERTERS.register_module('diffusionmtl')
class DiffusionMTLConverter(Converter):
    """Reads the published DiffusionMTL checkpoints."""

    variants = tuple({'mode': m, **b} for b in ({}, {'backbone': 'resnet50'}) for m in ('feature', 'prediction'))

    convert = staticmethod(convert)

"""Published DiffusionMTL checkpoints: every key is used or named as dropped, whichever variant."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.reference.diffusionmtl import BUFFERS, DiffusionMTL, Setting
from mmmtl.apis.convert import convert_state
from mmmtl.errors import CheckpointError
from mmmtl.models.diffusionmtl.converter import convert

PASCAL = {'semseg': 21, 'human_parts': 7, 'sal': 2, 'normals': 3, 'edge': 1}


def published(variant: str) -> dict[str, torch.Tensor]:
    """Names and shapes of the published state dict, with the prefix of distributed training."""
    with torch.device('meta'):
        return {f'module.{k}': v for k, v in DiffusionMTL(Setting(PASCAL, variant)).state_dict().items()}


@pytest.mark.parametrize('variant', ['feature', 'prediction'])
def test_the_fitting_config_is_found(variant):
    conversion = convert_state('diffusionmtl', published(variant))
    assert conversion.config.endswith(f'r18_pascal.py mode={variant}')
    assert sorted(conversion.dropped) == sorted(f'module.diffusion_model.{b}' for b in BUFFERS)
    assert len(conversion.state) == 410 - len(BUFFERS)


@pytest.mark.parametrize('variant', ['feature', 'prediction'])
def test_the_transcription_has_the_published_names(variant, shared_dir):
    lines = (shared_dir / 'golden' / 'keys' / f'diffusionmtl_keys_{variant}.txt').read_text().splitlines()
    listed = {
        m[1]: tuple(int(n) for n in m[2].split(',') if n.strip())
        for m in (re.fullmatch(r'(\S+) \((.*)\)', line.strip()) for line in lines if line.strip())
    }
    assert {k.removeprefix('module.'): tuple(v.shape) for k, v in published(variant).items()} == listed


def test_the_other_variant_is_refused_and_named():
    with pytest.raises(CheckpointError, match=r'It fits .*r18_pascal\.py mode=feature'):
        convert_state(
            'diffusionmtl', published('feature'), 'configs/diffusionmtl/r18_pascal.py', {'mode': 'prediction'}
        )


def test_unknown_keys_and_tasks_are_told():
    state = {
        'preliminary_head.sal.0.bias': torch.zeros(2),
        'preliminary_head.depth.0.bias': torch.zeros(1),
        'something.else': torch.zeros(1),
    }
    renamed, dropped, unknown = convert(state, {'sal': 'saliency'})
    assert list(renamed) == ['decoder.preliminary_heads.saliency.bias'] and not dropped
    assert unknown == ['preliminary_head.depth.0.bias', 'something.else']

"""The plain decoder as TaskDiffusion's baseline: branches of the tasks' own, from the concatenated levels on."""

from __future__ import annotations

import pytest
import torch

from mmmtl.errors import ConfigError
from mmmtl.models.baselines import PlainDecoder

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=4), depth=dict(type='Depth'))


def test_every_task_mixes_the_levels_for_itself():
    decoder = PlainDecoder(TASKS, [6, 6], [8, 8], channels=5, num_blocks=2, block='conv', mix='task', head_kernel=3)
    feats = [torch.randn(2, 6, 4, 4) for _ in range(2)]
    raw = decoder(feats)
    assert {n: tuple(x.shape) for n, x in raw.items()} == {'semseg': (2, 4, 4, 4), 'depth': (2, 1, 4, 4)}
    raw['depth'].sum().backward()
    with_gradient = {n for n, p in decoder.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in decoder.named_parameters() if '.depth.' in n}
    x = decoder.mix['depth'](torch.cat(feats, 1))
    for block in decoder.branches['depth']:
        x = block(x)  # no identity around it
    torch.testing.assert_close(raw['depth'], decoder.heads['depth'](x))


def test_mistakes_are_named():
    for option in (dict(block='con'), dict(mix='tasks')):
        with pytest.raises(ConfigError, match='Did you mean'):
            PlainDecoder(TASKS, [6], [8], **option)

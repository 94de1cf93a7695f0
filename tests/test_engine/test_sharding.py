"""Sharded training on two processes: the same numbers as replicated training, resumed bit for bit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from mmmtl.config import load_config
from mmmtl.config.check import check_config
from mmmtl.engine.sharding import ShardedOptimWrapper, wrap_blocks
from tests.distributed import launch

CONFIG = """
_base_ = ['{base}']
max_iters = 4
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(length=16, size=(32, 32)))
val_cfg, val_dataloader, val_evaluator = None, None, None
optim_wrapper = dict({wrapper}clip_grad=dict(max_norm=0.05))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
{more}
"""


def train(folder: Path, config: Path, *options: str) -> list[str]:
    """Train on two processes; the gradient norms that were logged."""
    launch('train', config, '--work-dir', folder, *options)
    return re.findall(r'grad_norm: ([\d.]+)', ''.join(path.read_text() for path in folder.glob('*/*.log')))


def state(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location='cpu', weights_only=True)['state_dict']


def test_sharded_training_equals_replicated_training_and_resumes(root_dir, tmp_path):
    base = root_dir / 'configs/stablemtl/tiny_diorama_single.py'
    sharded, replicated = tmp_path / 'sharded.py', tmp_path / 'replicated.py'
    sharded.write_text(
        CONFIG.format(
            base=base,
            wrapper="type='ShardedOptimWrapper', ",
            more="runner_type = 'FlexibleRunner'\nstrategy = dict(type='ShardingStrategy')",
        )
    )
    replicated.write_text(CONFIG.format(base=base, wrapper='', more=''))
    norms = train(tmp_path / 'a', sharded)
    assert len(norms) == 4
    assert norms == train(tmp_path / 'b', replicated), 'clipping sees all shards'
    ours, other = state(tmp_path / 'a/iter_4.pth'), state(tmp_path / 'b/iter_4.pth')
    assert ours.keys() == other.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)
    resumed = tmp_path / 'c'
    resumed.mkdir()
    (resumed / 'iter_2.pth').write_bytes((tmp_path / 'a/iter_2.pth').read_bytes())
    (resumed / 'last_checkpoint').write_text(str(resumed / 'iter_2.pth'))
    assert train(resumed, sharded, '--resume') == norms[2:]
    for name, value in state(resumed / 'iter_4.pth').items():
        assert torch.equal(value, ours[name]), name


def test_blocks_that_learn_are_shards():
    class Block(nn.Linear):
        pass

    block, frozen = Block(2, 2), Block(2, 2).requires_grad_(False)
    assert wrap_blocks(nn.Sequential(), True, 0, ('Block',))
    assert wrap_blocks(block, False, 6, ('Block',))
    assert not wrap_blocks(frozen, False, 6, ('Block',))
    assert not wrap_blocks(nn.Linear(2, 2), False, 6, ('Block',))


def test_clipping_without_other_processes_is_the_usual_one():
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(5, 3), nn.Linear(5, 3)]
    for layer in layers:
        layer.weight.grad = torch.randn(3, 5, generator=generator.manual_seed(1))
        layer.bias.grad = torch.randn(3, generator=generator)
    expected = nn.utils.clip_grad_norm_(layers[0].parameters(), 0.5)
    wrapper = ShardedOptimWrapper(
        optimizer=torch.optim.SGD(layers[1].parameters(), lr=1.0), clip_grad=dict(max_norm=0.5)
    )
    wrapper._clip_grad()
    for a, b in zip(layers[0].parameters(), layers[1].parameters()):
        torch.testing.assert_close(a.grad, b.grad)
    assert wrapper.message_hub.get_scalar('train/grad_norm').current() == pytest.approx(float(expected))
    with pytest.raises(ValueError, match='max_norm of order 2'):
        ShardedOptimWrapper(optimizer=wrapper.optimizer, clip_grad=dict(max_norm=1.0, norm_type=1))


@pytest.mark.parametrize('name', ['sd2_multistream', 'tiny_diorama_multistream'])
def test_sharded_configs_are_the_replicated_ones(root_dir, name):
    plain, sharded = (load_config(root_dir / f'configs/stablemtl/{name}{suffix}.py') for suffix in ('', '_fsdp'))
    assert sharded.runner_type == 'FlexibleRunner' and sharded.strategy.type == 'ShardingStrategy'
    assert sharded.optim_wrapper == dict(plain.optim_wrapper, type='ShardedOptimWrapper')
    assert sharded.model == plain.model and sharded.train_dataloader == plain.train_dataloader
    check_config(sharded, parts=('model',))

"""Training sharded parameter by parameter, and its checkpoints in parts: any number of processes, one file, no trust."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner._flexible_runner import FlexibleRunner

from mmmtl.apis import publish_model
from mmmtl.apis.checkpoint import read_checkpoint
from mmmtl.apis.runs import make_runner
from mmmtl.compat import init_cpu_dist
from mmmtl.engine import AtomicCheckpointHook, FullyShardStrategy
from mmmtl.engine.checkpoint_files import find_corruption, newest_first, why_not_resumable
from mmmtl.engine.fully_shard import check_parts
from mmmtl.errors import CheckpointError, ConfigError
from tests.distributed import run_ranks
from tests.test_engine.toy import config, train_rank

SHARDED = dict(
    runner_type='FlexibleRunner',
    env_cfg=dict(cudnn_benchmark=False),
    strategy=dict(type='FullyShardStrategy', blocks=['Linear']),
    optim_wrapper__type='ShardedOptimWrapper',
    optim_wrapper__clip_grad=dict(max_norm=0.05),
    val_dataloader=None,
    val_cfg=None,
    val_evaluator=None,
    default_hooks__checkpoint__save_best=None,
)
REPLICATED = {k: v for k, v in SHARDED.items() if k not in ('runner_type', 'strategy', 'optim_wrapper__type')}


def train_sharded(cfg: Config) -> dict[str, torch.Tensor]:
    """Train as one of several processes; the whole weights, which every process gets."""
    init_cpu_dist(cfg, 'pytorch')
    cfg.launcher = 'pytorch'
    torch.manual_seed(0)
    runner = FlexibleRunner.from_cfg(cfg)
    if cfg.get('resume'):  # as mmmtl.apis.train does
        hook = next(hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook))
        assert hook.choose_checkpoint(runner) is not None
    runner.train()
    state = runner.strategy.model.state_dict()
    return {n: v.full_tensor() if hasattr(v, 'full_tensor') else v for n, v in state.items()}


def launch(function: Any, folder: Path, ranks: int, iters: int, **changes: Any) -> dict[str, torch.Tensor]:
    results = run_ranks(function, ranks, config(folder, iters, **changes))
    assert all(ok for ok, _ in results), results
    return results[0][1]


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A run of two processes, which clips hard, and its weights."""
    folder = tmp_path_factory.mktemp('sharded')
    return folder, launch(train_sharded, folder, 2, 6, **SHARDED)


def test_the_weights_are_those_of_replicated_training(tmp_path):
    """To rounding: sums over two processes are made in another order."""
    plain = dict(optim_wrapper__optimizer=dict(type='SGD', lr=0.1, momentum=0.9, _delete_=True))
    ours = launch(train_sharded, tmp_path / 'a', 2, 4, **SHARDED, **plain)
    other = launch(train_rank, tmp_path / 'b', 2, 4, **REPLICATED, **plain)
    weights = {name: value for name, value in ours.items() if 'running' not in name}
    assert len(weights) > 5
    for name, value in weights.items():
        torch.testing.assert_close(value, other[f'model.{name}'])


@pytest.mark.parametrize('ranks', [2, 4])
def test_a_checkpoint_in_parts_goes_on_with_any_number_of_processes(run, tmp_path, ranks):
    """Resumed from iteration 4 on two, bit for bit; loaded on four, all the same weights (without another step)."""
    folder, ended = run
    assert not torch.equal(
        read_checkpoint(str(folder / 'iter_4.pth'))['state_dict']['body.0.weight'], ended['body.0.weight']
    )
    shutil.copytree(folder / 'iter_4.pth', tmp_path / 'iter_4.pth')
    if ranks == 2:
        again = launch(train_sharded, tmp_path, 2, 6, resume=True, **SHARDED)
        assert all(torch.equal(value, ended[name]) for name, value in again.items())
    else:
        again = launch(train_sharded, tmp_path, 4, 4, resume=True, **SHARDED)
        saved = read_checkpoint(str(folder / 'iter_4.pth'))['state_dict']
        assert [name for name, value in again.items() if not torch.equal(value, saved[name])] == []


def test_one_file_of_the_parts(run, tmp_path):
    folder, ended = run
    content = read_checkpoint(str(folder / 'iter_6.pth'))
    assert content['meta']['iter'] == 6 and 'optimizer' not in content
    assert content['state_dict'].keys() == ended.keys()
    assert all(torch.equal(value, ended[name]) for name, value in content['state_dict'].items())
    path = publish_model(str(folder / 'iter_6.pth'), str(tmp_path / 'model.pth'))
    assert torch.equal(read_checkpoint(path)['state_dict']['body.0.weight'], ended['body.0.weight'])


def test_parts_are_found_checked_and_not_trusted(run, tmp_path):
    folder, _ = run
    assert [path.name for path in newest_first(folder)] == ['iter_6.pth', 'iter_4.pth']
    assert not list(folder.glob('.*.part'))
    copy = tmp_path / 'iter_6.pth'
    shutil.copytree(folder / 'iter_6.pth', copy)
    assert find_corruption(copy) is None and why_not_resumable(copy) is None
    part = next(copy.glob('__1_*'))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert part.name in str(why_not_resumable(copy)) and 'digest' in str(find_corruption(copy))
    part.unlink()
    assert 'is missing' in str(why_not_resumable(copy))

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'ran',))

    (copy / '.metadata').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match='table of contents'):
        read_checkpoint(str(copy))
    assert not (tmp_path / 'ran').exists()


def test_weights_of_a_distributed_file_are_loaded(tmp_path):
    strategy = FullyShardStrategy.__new__(FullyShardStrategy)
    strategy.model = torch.nn.Linear(2, 1)
    torch.save({'module.weight': torch.full((1, 2), 7.0), 'module.bias': torch.ones(1)}, tmp_path / 'bare.pth')
    strategy.load_checkpoint(str(tmp_path / 'bare.pth'))
    assert strategy.model.weight.tolist() == [[7, 7]]


@pytest.mark.parametrize('strategy', ['FullyShardStrategy', 'ShardingStrategy'])
@pytest.mark.parametrize(
    'wrapper', [dict(type='BalancingOptimWrapper'), dict(type='OptimWrapper', clip_grad=dict(max_norm=1))]
)
def test_wrappers_that_look_at_whole_gradients_are_refused(strategy, wrapper):
    with pytest.raises(ConfigError, match=f"looks at whole gradients, which strategy.type='{strategy}' shards"):
        check_parts(dict(type=strategy), wrapper, [])
    check_parts(dict(type=strategy), dict(wrapper, type='ShardedOptimWrapper'), [])


@pytest.mark.parametrize('kind', ['EMAHook', 'mmengine.EMAHook'])
def test_averaged_weights_are_refused(tmp_path, kind):
    cfg = config(tmp_path, **SHARDED, custom_hooks=[dict(type=kind)])
    with pytest.raises(
        ConfigError, match="EMAHook averages whole parameters, which strategy.type='FullyShardStrategy'"
    ):
        make_runner(cfg)

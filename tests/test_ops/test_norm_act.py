"""Normalisation, modulation and GELU in one operation: values, gradients, statistics, and across processes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from mmmtl.models.layers.film import FilmNorm, TimeEmbedding
from mmmtl.ops.convolution import Conv1x1
from mmmtl.ops.norm_act import frozen_statistics


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(act, film, seed=0):
    torch.manual_seed(seed)
    module = FilmNorm(6, 5 if film else None, act).double()
    nn.init.normal_(module.norm.weight)
    nn.init.normal_(module.norm.bias)
    return module


def plain(norm, film, act, x, time):
    y = norm(x)
    if film is not None:
        scale, shift = film(time)[:, :, None, None].chunk(2, 1)
        y = y * (scale + 1) + shift
    return F.gelu(y) if act else y


@pytest.mark.parametrize('act', [True, False])
@pytest.mark.parametrize('film', ['none', 'one time', 'a time per sample'])
@pytest.mark.parametrize('training', [True, False])
def test_equals_the_separate_operations(act, film, training):
    module = make(act, film != 'none').train(training)
    expected = copy.deepcopy(module)
    module.norm.running_mean.uniform_(generator=torch.Generator().manual_seed(1))
    expected.norm.running_mean.copy_(module.norm.running_mean)
    x, seen = draw(3, 6, 4, 5), draw(3, 6, 4, 5, seed=1)
    time = draw(3 if film == 'a time per sample' else 1, 5, seed=2)
    results = []
    for owner in (module, expected):
        leaf = x.clone().requires_grad_()
        if owner is module:
            y = module(leaf, None if film == 'none' else time)
        else:
            y = plain(owner.norm, owner.film, act, leaf, time)
        (y * seen).sum().backward()
        results.append([y.detach(), leaf.grad, *[p.grad for p in owner.parameters()], *owner.buffers()])
    assert len(results[0]) == len(results[1])
    for found, wanted in zip(*results):
        assert torch.allclose(found, wanted, atol=1e-10)


def test_channels_last_stays_channels_last():
    module = make(True, False).float()
    x = torch.randn(2, 6, 4, 4).contiguous(memory_format=torch.channels_last)
    assert module(x).is_contiguous(memory_format=torch.channels_last)


def test_frozen_statistics_are_not_updated():
    module = make(True, False)
    with frozen_statistics():
        module(draw(2, 6, 3, 3))
    assert module.norm.num_batches_tracked == 0
    assert module.norm.running_mean.abs().sum() == 0
    module(draw(2, 6, 3, 3))
    assert module.norm.num_batches_tracked == 1


def test_cumulative_average_when_momentum_is_none():
    module = make(False, False)
    module.norm.momentum = None
    expected = copy.deepcopy(module.norm)
    for seed in range(3):
        module(draw(2, 6, 3, 3, seed=seed))
        expected(draw(2, 6, 3, 3, seed=seed))
    assert torch.allclose(module.norm.running_var, expected.running_var)


def test_prediction_overwrites_its_own_input_only_without_gradients():
    module = make(True, False).eval()
    x = draw(2, 6, 3, 3)
    kept = x.clone()
    module(x)
    assert torch.equal(x, kept)
    with torch.no_grad():
        assert module(x).data_ptr() == x.data_ptr()


def test_embeddings_of_several_times_are_those_of_each():
    embedding, log_snr = TimeEmbedding(6), torch.tensor([-3.0, 0.5, 4.0])
    for together, alone in zip(embedding(log_snr).split(1), log_snr.split(1)):
        assert torch.allclose(together, embedding(alone), atol=1e-6)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('times', [1, 2])
def test_a_norm_after_a_1x1_convolution(training, times):
    norm, conv = FilmNorm(6, 5, act=False).double().train(training), Conv1x1(4, 6).double()
    norm.norm.running_mean.normal_()
    x, time = draw(2, 4, 3, 3), draw(times, 5, seed=1)
    assert torch.allclose(norm.after_conv1x1(conv, x, time), norm(conv(x), time), atol=1e-12)


def _rank(rank, x, seen, time, state, path, queue):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{path}', rank=rank, world_size=2)
    module = make(True, True)
    module.load_state_dict(state)
    module.norm = nn.SyncBatchNorm.convert_sync_batchnorm(module.norm)
    part = slice(rank * 2, rank * 2 + 2)
    leaf = x[part].clone().requires_grad_()
    y = module(leaf, time[part])
    (y * seen[part]).sum().backward()
    gradients = {n: p.grad for n, p in module.named_parameters()}
    for gradient in gradients.values():
        dist.all_reduce(gradient)
    queue.put(
        (
            rank,
            [t.detach().numpy() for t in (y, leaf.grad, module.norm.running_mean, module.norm.running_var)],
            {n: g.numpy() for n, g in gradients.items()},
        )
    )
    dist.destroy_process_group()


def test_statistics_across_processes_on_cpus(tmp_path):
    module = make(True, True)
    x, seen, time = draw(4, 6, 3, 3), draw(4, 6, 3, 3, seed=1), draw(4, 5, seed=2)
    context = mp.get_context('fork')
    queue = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(r, x, seen, time, module.state_dict(), tmp_path / 'group', queue))
        for r in range(2)
    ]
    for process in ranks:
        process.start()
    parts = [p[1:] for p in sorted((queue.get(timeout=60) for _ in ranks), key=lambda p: p[0])]
    for process in ranks:
        process.join(30)
    leaf = x.clone().requires_grad_()
    y = module(leaf, time)
    (y * seen).sum().backward()
    for position, expected in enumerate((y.detach(), leaf.grad)):
        found = torch.cat([torch.from_numpy(p[0][position]) for p in parts])
        assert torch.allclose(found, expected, atol=1e-9)
    for tensors, gradients in parts:
        assert torch.allclose(torch.from_numpy(tensors[2]), module.norm.running_mean, atol=1e-10)
        assert torch.allclose(torch.from_numpy(tensors[3]), module.norm.running_var, atol=1e-10)
        for name, parameter in module.named_parameters():
            assert torch.allclose(torch.from_numpy(gradients[name]), parameter.grad, atol=1e-9), name

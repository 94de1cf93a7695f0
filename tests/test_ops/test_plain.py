"""``MMMTL_OPS=plain``: every kernel of the room is its plain PyTorch expression, and gives the same numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.ops import (
    convolution,
    dispatch,
    gemm,
    low_rank,
    norm_act,
    optimize_for_inference,
    recompute,
    residual_branch,
    winograd,
)
from tests.test_models.test_optimized_models import TASKS, VIT, images, model_of, scattered, targets_of

MLORE = dict(
    type='TaskDiffusionDecoder',
    aux='level_mask',
    conditions=dict(type='MLoREConditions', ranks=[2, 4, 6], topk=2, grid=(8, 10)),
)
KERNELS = [
    (convolution, 'linear'),
    (convolution, 'merge_pointwise'),
    (convolution, 'tap_products'),
    (convolution, '_taps'),
    (gemm, '_product'),
    (low_rank.LowRankConv2d, 'kernel'),
    (norm_act._BatchNormModulate, 'apply'),
    (recompute, 'checkpoint'),
    (residual_branch._Branch, 'apply'),
    (winograd, 'winograd_conv3x3'),
]
"""What the fast ways are made of."""
ROOM = Path(dispatch.__file__).parent


@pytest.fixture(autouse=True)
def few_channels_pay(monkeypatch):
    """Winograd's algorithm is taken with 64 channels already, so that small networks try it."""
    monkeypatch.setattr(winograd, 'TRANSFORMING', 16)


def make(name):
    if name != 'mlore':
        return model_of(name)
    torch.manual_seed(0)
    return scattered(MultiTaskModel(TASKS, VIT, MLORE, neck=dict(type='LevelProjection', channels=16)))


@pytest.fixture
def used(monkeypatch):
    """Counts calls of the fast ways."""
    counts = dict.fromkeys((name for _, name in KERNELS), 0)
    for place, name in KERNELS:
        function = getattr(place, name)

        def counted(*args, function=function, name=name, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(place, name, counted)
    return counts


def step(model, x):
    """Losses and gradients of a training step, predictions, and the state afterwards, in double precision."""
    model = copy.deepcopy(model).double().train()
    losses = model(x, mode='loss', targets=targets_of(model, tuple(x.shape[-2:])))
    sum(losses.values()).backward()
    found = {f'loss {n}': v for n, v in losses.items()}
    found.update({f'gradient {n}': p.grad for n, p in model.named_parameters() if p.grad is not None})
    found.update({f'state {n}': v for n, v in model.state_dict().items()})
    with torch.no_grad():
        found.update({f'prediction {n}': v for n, v in optimize_for_inference(model)(x).items()})
    return found


@pytest.mark.parametrize('name', ['taskdiffusion', 'mlore', 'diffusionmtl_feature', 'diffusionmtl_prediction', 'plain'])
def test_a_step_is_the_same_without_any_kernel(name, used):
    model = make(name)
    x = images(model)[:1].double()
    fast = step(model, x)
    assert any(used.values())
    for kernel in used:
        used[kernel] = 0
    with dispatch.plain_operations():
        plain = step(model, x)
    assert not any(used.values()), used
    assert fast.keys() == plain.keys()
    for key, value in fast.items():
        wanted = plain[key].detach().double()
        apart = (value.detach().double() - wanted).norm() / wanted.norm().clamp_min(1e-6)
        assert apart < 1e-6, (key, apart)
    assert any(not torch.equal(fast[key], plain[key]) for key in fast if key.startswith('gradient'))


@pytest.mark.parametrize('kernel', sorted(dispatch.KERNELS))
def test_every_kernel_asks(kernel):
    x = torch.ones(1, 4, 4, 4, dtype=torch.bfloat16 if kernel in ('attention', 'prepared_weights') else torch.float32)
    assert dispatch.served(kernel, x)
    with dispatch.plain_operations():
        assert not dispatch.served(kernel, x)
    asked = sum(f"served('{kernel}'" in path.read_text() for path in ROOM.glob('*.py'))
    assert asked, f'nothing asks for {kernel}'


def table_file(tmp_path, entries):
    path = tmp_path / 'dispatch.json'
    path.write_text(json.dumps(entries))
    return str(path)


def test_a_table_overrides_the_entries_it_names(tmp_path, monkeypatch):
    """By kernel, device and precision; the others stay."""
    x = torch.ones(1, 4, 4, 4)
    assert dispatch.served('mixing', x) and not dispatch.served('attention', x)
    entries = {'mixing': {'cpu': []}, 'attention': {'cpu': ['float32']}, 'norm_act': {'cuda': []}}
    monkeypatch.setenv('MMMTL_OPS', table_file(tmp_path, entries))
    assert not dispatch.served('mixing', x) and dispatch.served('attention', x)
    assert not dispatch.served('attention', x.bfloat16())
    assert dispatch.served('norm_act', x) and dispatch.served('winograd', x)
    with dispatch.forced_operations({'mixing'}):
        assert dispatch.served('mixing', x)
    assert not dispatch.served('mixing', x)


@pytest.mark.parametrize(
    'entries, words',
    [
        ({'mixxing': {'cpu': []}}, "no kernel 'mixxing'.*mixing"),
        ({'mixing': {'cpu': ['float31']}}, 'float31'),
        ({'mixing': {'cpu': 'float32'}}, 'float32'),
        ({'mixing': ['cpu']}, 'expected'),
        ({'matmul': {'cuda': ['float32']}}, "'matmul' runs on 'cpu' alone"),
        ([], 'expected'),
    ],
)
def test_a_table_with_a_mistake_is_told(tmp_path, monkeypatch, entries, words):
    monkeypatch.setenv('MMMTL_OPS', table_file(tmp_path, entries))
    with pytest.raises(ConfigError, match=words):
        dispatch.served('mixing', torch.ones(1))


def test_the_table_depends_on_the_processor(monkeypatch):
    """Kernels that another library of PyTorch's beats on a processor do not serve there."""
    usual, tiles = dispatch.kernels_of({'AuthenticAMD'}), dispatch.kernels_of({'GenuineIntel', 'amx_bf16'})
    cpu = {name: places.get('cpu') for name, places in tiles.items()}
    assert cpu['attention'] == frozenset() and cpu['winograd'] == {torch.float32}
    assert usual['winograd']['cpu'] == {torch.float32, torch.bfloat16} and usual['attention']['cpu'] == {torch.bfloat16}
    assert usual['matmul']['cpu'] == {torch.float32}
    assert (cpu['matmul'] == frozenset()) == torch.backends.mkl.is_available()
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: False)
    assert dispatch.kernels_of({'GenuineIntel'}) == usual
    changed = {name for name in usual if usual[name] != tiles[name]}
    assert changed <= {'attention', 'winograd', 'matmul'}

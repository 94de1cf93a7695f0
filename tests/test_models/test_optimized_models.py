"""Every model, optimised for inference: the plain network's predictions, and no trace of it in training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mmmtl.models import MultiTaskModel
from mmmtl.ops import optimize_for_inference, winograd
from mmmtl.ops.inference import InferenceForm
from tests.test_models import latent_toy

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=7), depth=dict(type='Depth'), normals=dict(type='SurfaceNormals')
)
SIZE = (128, 160)
VIT = dict(
    type='TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=SIZE,
    depth=2,
    out_indices=(0, 1),
    embed_dim=64,
    num_heads=2,
)
RESNET = dict(type='TimmBackbone', model_name='resnet18')
FUSION = dict(type='ConcatFusion', channels=64)
SEGNET = dict(type='SegNet', filters=(64, 64, 96, 64, 64))
MODELS = {
    'taskdiffusion': (VIT, dict(type='LevelProjection', channels=64), dict(type='TaskDiffusionDecoder')),
    'diffusionmtl_feature': (
        RESNET,
        FUSION,
        dict(type='DiffusionMTLDecoder', denoiser=dict(type='CrossDenoiser', hidden=64)),
    ),
    'diffusionmtl_prediction': (
        RESNET,
        FUSION,
        dict(type='DiffusionMTLDecoder', denoiser=dict(type='CrossDenoiser', hidden=64), mode='prediction'),
    ),
    'plain': (RESNET, None, dict(type='PlainDecoder', channels=64)),
    'xtc': (SEGNET, None, dict(type='XTC', decoder=dict(type='ConvHeads'), filters=(8, 8, 8, 8, 8))),
}


@pytest.fixture(autouse=True)
def few_channels_pay(monkeypatch):
    """Winograd's algorithm is taken with 64 channels already, so that small networks try it."""
    monkeypatch.setattr(winograd, 'TRANSFORMING', 16)


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == 'stablemtl':
        return latent_toy.make(vae=True)
    backbone, neck, decoder = MODELS[name]
    return scattered(MultiTaskModel(TASKS, backbone, decoder, neck=neck))


def scattered(model: nn.Module) -> nn.Module:
    """Norms with statistics and weights of their own, as after training."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.running_mean, 0, 0.2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.2)
    return model


def images(model: nn.Module) -> Tensor:
    frames = getattr(model, 'frames', 1)
    shape = (2, 3, *SIZE) if frames == 1 else (1, 2, 3, 32, 32)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def targets_of(model: nn.Module, size: tuple[int, int]) -> dict:
    generator = torch.Generator().manual_seed(2)
    made = {}
    for name, task in model.tasks.items():
        if task.categorical:
            label = torch.randint(0, 4, (1, *size), generator=generator)
        else:
            label = nn.functional.normalize(torch.rand(1, task.label_channels, *size, generator=generator) + 0.1, dim=1)
        made[name] = (torch.tensor([0]), label)
    return made


@pytest.mark.parametrize('name', [*MODELS, 'stablemtl'])
def test_predictions_are_those_of_the_plain_network(name):
    model = model_of(name).eval()
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        optimize_for_inference(model)
        assert any(isinstance(m, InferenceForm) for m in model.modules())
        found = model(x)
    for task, wanted in expected.items():
        apart = ((found[task] - wanted).norm() / wanted.norm()).item()
        print(name, task, f'{apart:.2e}')
        assert apart < 2e-5, task
    if name != 'stablemtl':
        flips = (found['semseg'].argmax(1) != expected['semseg'].argmax(1)).float().mean().item()
        assert flips <= 1e-4
        assert any(not torch.equal(found[t], expected[t]) for t in expected), 'it is another computation'


@pytest.mark.parametrize('name', [*MODELS, 'stablemtl'])
def test_training_step_afterwards_is_bit_equal(name):
    plain = model_of(name).train()
    model = copy.deepcopy(plain)
    optimize_for_inference(model)
    x = images(model)
    with torch.no_grad():
        model(x)
    model.train()
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    gradients = []
    for one in (plain, model):
        torch.manual_seed(3)
        losses = one(x, mode='loss', targets=targets_of(one, tuple(x.shape[-2:])))
        sum(losses.values()).backward()
        gradients.append([p.grad for p in one.parameters()])
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values()))
    for a, b in zip(*gradients):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize('name', ['taskdiffusion', 'diffusionmtl_feature', 'stablemtl'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_do_no_harm(name, dtype):
    model = model_of(name).eval()
    x = images(model)[:1]
    with torch.no_grad():
        exact = model(x)
        model, x = (model.double(), x.double()) if dtype is torch.float64 else (model, x)
        expected = _under(model, x, dtype)
        found = _under(optimize_for_inference(model), x, dtype)
    for task, wanted in exact.items():
        errors = [((y[task].float() - wanted.float()).norm() / wanted.norm()).item() for y in (found, expected)]
        assert errors[0] < 2 * errors[1] + 1e-5, task


def _under(model: nn.Module, x: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    if dtype is torch.float64:
        return model(x)
    with torch.autocast('cpu', dtype):
        return model(x)

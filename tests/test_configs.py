"""The catalogue is the test: every shipped config builds, loses, steps back, predicts, is saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import load
from mmengine.optim import build_optim_wrapper

from mmmtl.config import load_config
from mmmtl.registry import MODELS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import CategoricalTask, build_tasks

ROOT = Path(__file__).parents[1] / 'configs'
LATENT = ('stablemtl', 'studies', '_base_')  # with tests of their own
METHODS = tuple(p.name for p in sorted(ROOT.iterdir()) if p.is_dir() and p.name not in LATENT)
CONFIGS = sorted(p for m in METHODS for p in (ROOT / m).glob('*.py'))
SIZE = (64, 128)
CASES = [(p, {}) for p in CONFIGS] + [(p, {'mode': 'prediction'}) for p in CONFIGS if p.parent.name == 'diffusionmtl']


def shrink(model: dict) -> dict:
    """The same network, small: what differs between configs stays, widths and depths go."""
    model = dict(model, data_preprocessor=None)
    backbone = dict(model['backbone'])
    if 'init_cfg' in backbone:
        backbone['init_cfg'] = None
    if backbone['type'] == 'mmseg.HRNet':
        stages = backbone['extra'].items()
        widths = (8, 16, 16, 16)
        backbone['extra'] = {
            k: dict(s, num_channels=widths[: s['num_branches']], num_modules=1, num_blocks=(1,) * s['num_branches'])
            for k, s in stages
        }
    if backbone['type'] == 'mmseg.SwinTransformer':
        backbone.update(embed_dims=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    if backbone['type'] == 'TaskPromptViT':
        backbone['prompt_layers'] = 2
    if backbone['type'] == 'SegNet':
        backbone['filters'] = (8, 8, 8, 16, 16)
    if 'model_name' in backbone:
        backbone.pop('pretrained', None)
        backbone.pop('checkpoint', None)
        if backbone['model_name'].startswith('vit'):
            backbone.update(embed_dim=32, depth=4, num_heads=2, img_size=SIZE, out_indices=None)
        if backbone['model_name'] == 'resnet50':
            backbone['model_name'] = 'resnet26'
        if model['decoder']['type'] in ('InvPTDecoder', 'MTINetDecoder') and backbone['model_name'] == 'resnet18':
            backbone['channels'] = (16, 16, 16, 32)
    width = 16
    neck, decoder = model.get('neck'), dict(model['decoder'])
    if neck:
        neck = dict(neck, channels=width)
    for inner in (decoder, decoder.get('decoder') or {}):
        for key in ('channels', 'hidden', 'width'):
            if key in inner or (key == 'width' and inner.get('type') in ('DeMTDecoder', 'MQTransformerDecoder')):
                inner[key] = width
    if decoder['type'] in ('JTR', 'XTC'):
        decoder.update(filters=(8, 8, 8, 16, 16), views=min(decoder.get('views', 2), 2))  # the example has two images
    if 'conditions' in decoder:
        decoder['conditions'] = dict(decoder['conditions'], grid=(SIZE[0] // 16, SIZE[1] // 16))
    return dict(model, backbone=backbone, neck=neck, decoder=decoder)


def example(tasks: dict, batch: int = 2) -> tuple[torch.Tensor, dict]:
    """Random inputs, and labels of which the last task lacks one sample."""
    rng = np.random.default_rng(0)
    targets = {}
    for name, task in tasks.items():
        if isinstance(task, CategoricalTask):
            label = torch.from_numpy(rng.integers(0, len(task.classes), (batch, *SIZE)))
        else:
            label = torch.from_numpy(rng.random((batch, task.label_channels, *SIZE), np.float32))
        targets[name] = (torch.arange(batch), label)
    index, label = targets[name]
    targets[name] = (index[1:], label[1:])
    frames = max(t.frames for t in tasks.values())
    return torch.randn(batch, *([frames] if frames > 1 else []), 3, *SIZE), targets


def test_the_model_index_lists_every_config_once_by_folder():
    files = [ROOT.parent / name for name in load(ROOT.parent / 'model-index.yml')['Import']]
    listed = [model for file in files for model in load(file)['Models']]
    paths = sorted(p for p in ROOT.glob('[!_]*/*.py') if p.parent.name != 'studies')
    assert sorted(m['Config'] for m in listed) == [p.relative_to(ROOT.parent).as_posix() for p in paths]
    assert all(m['Config'] == f'configs/{m["Name"]}.py' for m in listed)


def test_the_catalogue_is_not_empty():
    assert len(CONFIGS) >= 12
    assert {p.parent.name for p in CONFIGS} == set(METHODS)
    assert (ROOT / 'taskdiffusion' / 'vitl_pascal.py') in CONFIGS


def test_the_balanced_config_learns_its_weights():
    cfg = load_config(ROOT / 'baselines' / 'vitt_diorama_gradnorm.py')
    torch.manual_seed(0)
    model = MODELS.build(shrink(cfg.model.to_dict())).train()
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper.to_dict(), type='mmmtl.BalancingOptimWrapper'))
    inputs, targets = example(build_tasks(cfg.tasks))
    for _ in range(2):
        with wrapper.optim_context(model):
            loss, _ = model.parse_losses(model(inputs, mode='loss', targets=targets))
        wrapper.update_params(loss)
    weights = wrapper.balancer.weights
    assert len(weights) == len(cfg.tasks) and float(weights.sum()) == pytest.approx(len(weights), rel=1e-5)
    assert len(set(weights.tolist())) > 1, 'the weights have moved'


@pytest.mark.parametrize(
    ('path', 'options'), CASES, ids=lambda p: f'{p.parent.name}/{p.stem}' if isinstance(p, Path) else None
)
def test_config_builds_trains_predicts_saves_and_loads(path, options, tmp_path):
    assert len(path.read_text().splitlines()) <= 60
    cfg = load_config(str(path), options)
    torch.manual_seed(0)
    model = MODELS.build(shrink(cfg.model.to_dict()))
    inputs, targets = example(build_tasks(cfg.tasks))
    losses = model.train()(inputs, mode='loss', targets=targets)
    total = sum(v for k, v in losses.items() if 'loss' in k)
    total.backward()
    assert torch.isfinite(total)
    assert {k.split('.')[-1] for k in losses} >= {f'loss_{name}' for name in cfg.tasks}
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

    samples = [
        MTLDataSample(metainfo=dict(sample_id=str(i), ori_shape=(60, 122), padding=(3, 3, 2, 2))) for i in range(2)
    ]
    model.eval()
    with torch.no_grad():
        predicted = model(inputs, samples, mode='predict')
    for name in cfg.tasks:
        assert getattr(predicted[0].pred, name).shape[-2:] == (60, 122)

    torch.save(model.state_dict(), tmp_path / 'model.pth')
    again = MODELS.build(shrink(cfg.model.to_dict())).eval()
    again.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True), strict=True)
    with torch.no_grad():
        reloaded = again(inputs, [MTLDataSample(metainfo=s.metainfo) for s in samples], mode='predict')
    for name in cfg.tasks:
        torch.testing.assert_close(getattr(reloaded[1].pred, name), getattr(predicted[1].pred, name))

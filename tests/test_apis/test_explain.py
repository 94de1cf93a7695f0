"""How predictions came about, drawn by tools/infer.py and tools/test.py for every method that can tell."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmmtl import apis
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from tests.test_models.latent_toy import UNET

TOOLS = Path(__file__).parents[2] / 'tools'
FUSION = dict(type='ConcatFusion', channels=8, stride=8, _delete_=True)
DIFFUSIONMTL = dict(type='DiffusionMTLDecoder', denoiser=dict(type='CrossDenoiser', hidden=8), _delete_=True)
CROSS_TASK = ['cross_task_map', 'step_predictions', 'task_relation_level_1', 'task_relation_level_2']
METHODS = {
    'taskdiffusion': (dict(model=dict(decoder=dict(type='TaskDiffusionDecoder', steps=2, _delete_=True))), CROSS_TASK),
    'diffusionmtl_feature': (
        dict(model=dict(neck=FUSION, decoder=dict(DIFFUSIONMTL, mode='feature'))),
        ['denoising', 'step_predictions'],
    ),
    'diffusionmtl_prediction': (
        dict(model=dict(neck=FUSION, decoder=dict(DIFFUSIONMTL, mode='prediction'))),
        ['denoising', 'step_predictions'],
    ),
    'stablemtl': (
        {
            'model': dict(
                type='LatentMultiTaskModel',
                autoencoder=dict(type='DCTAutoencoder', block=4, kept=3),
                tokens=dict(type='LearnedTokens', length=2),
                unet=UNET,
                task_attention=dict(heads=2, query_width=20),
                tasks=dict(depth=dict(type='Depth'), boundary=dict(type='Boundary')),
                _delete_=True,
            ),
            'only_tasks': ['depth', 'boundary'],
        },
        ['task-attention'],
    ),
}


@pytest.fixture(params=METHODS)
def method(request, tiny_config, tmp_path):
    """Config file, checkpoint with random weights, and the explanations that are to come."""
    options, names = METHODS[request.param]
    if request.param == 'stablemtl':
        pytest.importorskip('diffusers')
    lines = [f'{name} = {value!r}' for name, value in options.items()]
    (tmp_path / 'method.py').write_text('\n'.join([f"_base_ = ['{tiny_config}']", *lines]))
    model = apis.init_model(load_config(str(tmp_path / 'method.py')), device='cpu')
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'weights.pth')
    return tmp_path / 'method.py', tmp_path / 'weights.pth', names


def run(tool, *args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(str(TOOLS / tool), run_name='__main__')


def test_commands_explain_every_method_that_can_tell(method, tmp_path):
    config, checkpoint, names = method
    picture = tmp_path / 'a.png'
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    run('infer.py', config, checkpoint, picture, '--explain', '--no-raw', '--out', tmp_path / 'seen', '--device', 'cpu')
    shown = {p.name: cv2.imread(str(p)) for p in (tmp_path / 'seen/panels').iterdir()}
    assert sorted(shown) == sorted(['a.png', *(f'a.{name}.png' for name in names)])
    options = ['--explain', '--max-panels', 1, '--work-dir', tmp_path / 'work', '--show-dir', tmp_path / 'show']
    run('test.py', config, checkpoint, *options)
    labels = ['label_map'] if names is CROSS_TASK else []  # figure 5: there are labels here
    found = {p.name.split('.', 1)[1] for p in (tmp_path / 'show').iterdir()}
    assert found == {'png', *(f'{name}.png' for name in names + labels)}
    if labels:
        assert cv2.imread(str(next((tmp_path / 'show').glob('*.label_map.png')))).std() > 5


def test_explanations_need_a_folder_and_a_method_that_can_tell(trained, tmp_path):
    cfg, checkpoint = str(trained.parent / 'tiny.py'), str(trained / 'iter_4.pth')
    with pytest.raises(ConfigError, match='give show_dir'):
        apis.test(load_config(cfg), checkpoint, str(tmp_path), explain=True)
    with pytest.raises(ConfigError, match='PlainDecoder cannot explain'):
        apis.test(load_config(cfg), checkpoint, str(tmp_path), show_dir=str(tmp_path / 'show'), explain=True)

"""The published experiments on miniatures of their data: training, resuming and testing, reduced by options alone."""

from __future__ import annotations

import json

import pytest

from mmmtl import apis
from mmmtl.config import load_config
from tests.miniatures.nyudv2 import write_nyudv2
from tests.miniatures.pascal_context import write_pascal_context

SMALL = {
    'model.backbone.pretrained': False,
    'model.backbone.embed_dim': 32,
    'model.backbone.depth': 4,
    'model.backbone.num_heads': 2,
    'model.backbone.img_size': (128, 128),
    'model.neck.channels': 16,
    'crop_size': (128, 128),
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 1,
}
LOADERS = {
    f'{s}_dataloader.{k}': v
    for s in ('train', 'val', 'test')
    for k, v in (('num_workers', 0), ('persistent_workers', False))
}


@pytest.mark.parametrize(
    ('name', 'writer', 'more'),
    [
        ('vitl_pascal', write_pascal_context, {}),
        ('vitl_pascal_mlore', write_pascal_context, {'model.decoder.conditions.grid': (8, 8)}),
        ('vitl_nyud', write_nyudv2, {}),
    ],
)
def test_trains_resumes_and_tests(name, writer, more, tmp_path):
    writer(tmp_path / 'data')
    options = {**SMALL, **LOADERS, **more, 'data_root': str(tmp_path / 'data')}
    path, work = f'configs/taskdiffusion/{name}.py', str(tmp_path / 'work')
    apis.train(load_config(path, options), work)
    runner = apis.train(load_config(path, {**options, 'train_cfg.max_iters': 3}), work, resume=True)
    assert runner.iter == 3
    figures = apis.test(load_config(path, options), str(tmp_path / 'work' / 'iter_3.pth'), work)
    written = json.loads((tmp_path / 'work' / 'metrics.json').read_text())
    assert written == figures
    tasks = load_config(path).tasks
    assert {k.split('/')[0] for k in figures} - {'delta_m'} == set(tasks)

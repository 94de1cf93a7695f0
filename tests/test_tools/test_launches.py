"""The published TaskDiffusion config, small, on two processes and on one: updates of the same four images."""

from __future__ import annotations

import json

import pytest
import torch

from tests.miniatures import write_pascal_context
from tests.test_tools.test_commands import ROOT, run, shell

OPTIONS = [
    'crop_size=(64,96)',
    'model.backbone.model_name=vit_tiny_patch16_224',
    'model.backbone.pretrained=False',
    'model.backbone.embed_dim=24',
    'model.backbone.depth=4',
    'model.backbone.num_heads=2',
    'model.neck.channels=8',
    'train_dataloader.num_workers=0',
    'val_cfg=None',
    'val_dataloader=None',
    'val_evaluator=None',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
]


def text_of(folder) -> str:
    return ' '.join(''.join(path.read_text() for path in folder.glob('*/*.log')).split())


@pytest.mark.slow
def test_the_total_batch_is_that_of_the_config_on_any_number_of_processes(monkeypatch, tmp_path):
    write_pascal_context(tmp_path / 'data')
    config, work = ROOT / 'configs/taskdiffusion/vitl_pascal.py', tmp_path / 'work'
    options = [*OPTIONS, f'data_root={tmp_path / "data"}']
    done = shell('dist_train.sh', config, 2, '--work-dir', work, '--cfg-options', *options, 'max_iters=1')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Total batch: 4 (2 process(es) x 2 images x 1 step(s) of accumulation)' in text_of(work)
    run(monkeypatch, 'train.py', config, '--work-dir', work, '--resume', '--cfg-options', *options, 'max_iters=3')
    log = text_of(work)
    assert 'Total batch: 4, as on 2 process(es) before (1 process(es) x 2 images x 2 step(s) of accumulation)' in log
    assert 'Updates stay at 4 samples, now from 2 batch(es) of every process' in log
    place = torch.load(work / 'iter_3.pth')['message_hub']['runtime_info']['train_stream']
    assert (place['consumed'], place['samples']) == (12, 4)
    rates = [json.loads(line)['lr'] for line in sorted(work.glob('*/vis_data/scalars.json'))[-1].open()]
    assert rates == [pytest.approx(2e-5 * 0.5**0.9), 0]  # of the second and the third of three steps

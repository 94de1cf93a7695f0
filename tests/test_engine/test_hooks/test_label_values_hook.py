"""LabelValuesHook: the log says what labels hold, and which task learns nothing from them."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmmtl.datasets import FolderDataset, MixedDataset
from mmmtl.engine.hooks import LabelValuesHook


@pytest.fixture
def runner(tmp_path, caplog):
    """What the hook sees of a run on two photographs, whose only depth is in millimetres."""
    for name, array in (
        ('images/a.png', np.zeros((6, 8, 3), np.uint8)),
        ('images/b.png', np.zeros((6, 8, 3), np.uint8)),
        ('depth/a.png', np.full((6, 8), 3000, np.uint16)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / name)
    data = FolderDataset(dict(depth=dict(type='Depth')), str(tmp_path))
    caplog.set_level(logging.INFO)
    return SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=MixedDataset([data])), logger=logging.getLogger('label_values')
    )


def test_the_table_and_its_warning(runner, caplog):
    LabelValuesHook().before_train(runner)
    assert '1 of 2 (50 %)' in caplog.text and '3000 to 3000 m' in caplog.text
    assert "task 'depth': the median is 3000 m" in caplog.text
    caplog.clear()
    LabelValuesHook(labels=0).before_train(runner)
    assert not caplog.text


@pytest.mark.parametrize('losses, warns', [([0.0] * 20, True), ([0.0] * 19 + [0.5], False)])
def test_a_loss_that_stays_at_zero(runner, caplog, losses, warns):
    hook = LabelValuesHook()
    batch = dict(data_samples=[SimpleNamespace(labeled_tasks=('depth',))])
    for k, loss in enumerate(losses):
        outputs = {'loss': torch.tensor(1.0), 'loss_depth': torch.tensor(loss), 'loss_semseg': torch.tensor(0.0)}
        hook.after_train_iter(runner, k, batch, outputs)
        hook.after_train_iter(runner, k, dict(data_samples=[SimpleNamespace(labeled_tasks=())]), outputs)
    assert ("task 'depth': its loss was exactly 0 in 20 iterations" in caplog.text) == warns
    assert 'semseg' not in caplog.text


def test_it_is_part_of_every_run(root_dir):
    assert Config.fromfile(root_dir / 'configs/_base_/default_runtime.py').default_hooks.label_values.type == (
        'LabelValuesHook'
    )

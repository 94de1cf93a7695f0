"""The tasks of a model and of its data, and the images of training and validation, compared before a run."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger
from PIL import Image

from mmmtl.config import load_config
from mmmtl.config.check import check_config
from mmmtl.datasets import FolderDataset, MixedDataset
from mmmtl.engine.hooks import LabelValuesHook
from mmmtl.errors import ConfigError
from mmmtl.tasks.agreement import task_problems

SEMSEG, DEPTH = dict(type='SemanticSegmentation', classes=['road', 'sky', 'tree']), dict(type='Depth')


@pytest.fixture
def said():
    lines: list[str] = []
    keep = logging.Handler()
    keep.emit = lambda record: lines.append(record.getMessage())
    MMLogger.get_instance('agreement').addHandler(keep)
    return lines


def config(model, *data):
    parts = [dict(type='FolderDataset', tasks=tasks) for tasks in data]
    dataset = parts[0] if len(parts) == 1 else dict(type='MixedDataset', datasets=parts)
    return dict(model=dict(tasks=model), train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dataset)))


@pytest.mark.parametrize(
    'other, words',
    [
        (dict(SEMSEG, classes=['sky', 'road', 'tree']), r"the classes are \['road', 'sky', 'tree'\] and \['sky'"),
        (dict(SEMSEG, classes=4), '3 and 4 classes'),
        (dict(type='HumanParts'), 'SemanticSegmentation and HumanParts'),
        (dict(SEMSEG, classes=3), None),
        (dict(SEMSEG, loss_weight=2.0), None),
    ],
)
def test_tasks_of_the_model_and_of_the_data(other, words, said):
    problems = list(task_problems(config(dict(semseg=SEMSEG, depth=DEPTH), dict(semseg=other), dict(depth=DEPTH))))
    assert not said and len(problems) == (words is not None)
    if words:
        with pytest.raises(ConfigError, match=f'model.tasks.semseg and train_dataloader.dataset.*datasets.0.*{words}'):
            raise ConfigError(problems[0])


def test_tasks_that_only_one_of_them_has(said):
    assert not list(task_problems(config(dict(semseg=SEMSEG, depth=DEPTH), dict(semseg=SEMSEG, dept=DEPTH))))
    assert len(said) == 2 and "the model has no task 'dept'" in said[0] and "'depth'" in said[0]
    assert "labels of 'depth': it learns nothing" in said[1]


def test_arguments_that_only_one_of_them_goes_by(said):
    depth = dict(DEPTH, metric=dict(type='DepthError'), loss_weight=3.0, max_depth=10.0)
    assert not list(task_problems(config(dict(depth=depth), dict(depth=DEPTH), dict(depth=dict(depth, max_depth=9.0)))))
    assert [line.partition('=')[0] for line in said] == ['model.tasks.depth.max_depth', 'model.tasks.depth.metric']
    assert "datasets.0.tasks.depth.max_depth=None: the network goes by the model's" in said[0].replace('[0]', '.0')


def test_a_config_is_looked_at(tiny_config):
    options = {'model.tasks.semseg.classes': 9}
    with pytest.raises(
        ConfigError, match=r'model\.tasks\.semseg and train_dataloader\.dataset\.tasks\.semseg differ: 9 and 8'
    ):
        check_config(load_config(tiny_config, options))
    check_config(load_config(tiny_config))


def test_images_of_the_validation_that_are_trained_on(tmp_path):
    for name in ('images/a.png', 'images/b.png', 'images/c.png', 'depth/a.png', 'depth/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('L', (4, 4), 9).save(tmp_path / name)
    (tmp_path / 'train.txt').write_text('a\nb')
    (tmp_path / 'val.txt').write_text('c')
    lines: list[str] = []

    def look(train, val):
        lines.clear()
        data = [FolderDataset(dict(depth=DEPTH), str(tmp_path), split_file=file) for file in (train, val)]
        loops = [SimpleNamespace(dataloader=SimpleNamespace(dataset=d)) for d in (MixedDataset(data[:1]), data[1])]
        logger = SimpleNamespace(warning=lines.append)
        runner = SimpleNamespace(train_loop=loops[0], val_loop=loops[1], _val_loop=loops[1], logger=logger)
        LabelValuesHook._tell_shared(runner)

    look('train.txt', 'val.txt')
    assert not lines
    look('train.txt', None)
    assert len(lines) == 1 and '2 of 3 images of the validation' in lines[0] and 'a.png' in lines[0]

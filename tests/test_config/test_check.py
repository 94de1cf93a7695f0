"""All mistakes of a config are told at once, with path, value and near names."""

from __future__ import annotations

import re

import pytest

from mmmtl.config import check_config, load_config
from mmmtl.engine.limits import impossible_numbers
from mmmtl.errors import ConfigError


def problems_of(cfg, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        check_config(cfg, **kwargs)
    return str(error.value)


def test_the_config_as_written_is_right(tiny_config):
    check_config(load_config(tiny_config))


@pytest.mark.parametrize(
    'path, value, words',
    [
        ('model.type', 'MultiTaskMode', ["model.type='MultiTaskMode'", "'MultiTaskModel'"]),
        ('model.decoder.type', 'PlanDecoder', ["model.decoder.type='PlanDecoder'", 'mmmtl::model', "'PlainDecoder'"]),
        ('model.decoder.chanels', 3, ['model.decoder.chanels=3', 'PlainDecoder takes no argument', "'channels'"]),
        ('model.tasks.depth.type', 'Deph', ["model.tasks.depth.type='Deph'", "'Depth'"]),
        ('model.tasks.depth.max_dept', 3, ['model.tasks.depth.max_dept=3', "'max_depth'"]),
        ('model.tasks.semseg.lable', 3, ['model.tasks.semseg.lable=3']),
        ('model.tasks.depth.loss', dict(type='MaskdL1'), ["model.tasks.depth.loss.type='MaskdL1'", "'MaskedL1'"]),
        (
            'model.tasks.depth.metric',
            dict(type='DepthErr'),
            ["model.tasks.depth.metric.type='DepthErr'", "'DepthError'"],
        ),
        ('train_dataloader.dataset.type', 'Dioramma', ["'Dioramma'", "'Diorama'"]),
        ('train_dataloader.dataset.lenght', 3, ['train_dataloader.dataset.lenght=3', "'length'"]),
        ('train_dataloader.dataset.pipeline.0.type', 'RandomFlp', ["pipeline.0.type='RandomFlp'", "'RandomFlip'"]),
        ('train_dataloader.dataset.pipeline.0.probability', 1, ['pipeline.0.probability=1', 'RandomFlip']),
        ('train_dataloader.dataset.label_sampler.type', 'OneLable', ["'OneLable'", "'OneLabel'"]),
        ('train_dataloader.sampler.type', 'ResumableSample', ["'ResumableSampler'"]),
        ('train_dataloader.batchsize', 3, ['train_dataloader.batchsize=3', "'batch_size'"]),
        ('val_evaluator.type', 'MultitaskMetric', ["'MultiTaskMetric'"]),
        ('optim_wrapper.optimizer.type', 'AdamWW', ["optim_wrapper.optimizer.type='AdamWW'", "'AdamW'"]),
        ('optim_wrapper.optimizer.learning_rate', 1, ['AdamW takes no argument']),
        ('optim_wrapper.accumulate', 1, ['OptimWrapper takes no argument']),
        ('param_scheduler.0.type', 'PollyLR', ["'PolyLR'"]),
        ('param_scheduler.0.end', 0, ['param_scheduler.0', 'begins at 0 and ends at 0']),
        ('default_hooks.checkpoint.intervall', 1, ["'interval'"]),
        ('default_hooks.logger.type', 'LogerHook', ["'LoggerHook'"]),
        ('train_cfg.max_iter', 3, ['train_cfg.max_iter=3', "'max_iters'"]),
        ('visualizer.vis_backends.0.type', 'LocalVisBackendd', ["'LocalVisBackend'"]),
        ('randomness.sed', 3, ['randomness.sed=3', "'seed'"]),
        ('model.backbone.type', 'mmseg.SwinTransfomer', ['mmseg::model', "'mmseg.SwinTransformer'"]),
        ('model.decoder.type', 'Diorama', ['It is a dataset, not a model']),
        ('load_from', '/no/such.pth', ["load_from='/no/such.pth' does not exist"]),
        ('load_from', '/', ["load_from='/' is a folder. In it there are"]),
        ('model.backbone.pretrained', 'no', ["model.backbone.pretrained='no'", 'takes true or false there']),
        ('optim_wrapper.optimizer.fused', 'maybe', ["optim_wrapper.optimizer.fused='maybe'", 'true or false']),
        ('default_hooks.checkpoint.by_epoch', 'maybe', ["default_hooks.checkpoint.by_epoch='maybe'", 'true or false']),
        ('param_scheduler.0.by_epoch', True, ['param_scheduler.0: PolyLR counts epochs', 'counts iterations']),
        (
            'param_scheduler',
            dict(type='CosineAnnealingLR', T_max=4),
            ['CosineAnnealingLR counts epochs', 'by_epoch=False'],
        ),
        ('default_hooks.checkpoint.by_epoch', True, ['default_hooks.checkpoint: AtomicCheckpointHook counts epochs']),
        ('model.backbone.checkpoint', '/no/such.npz', ["model.backbone.checkpoint='/no/such.npz' does not exist"]),
    ],
)
def test_one_mistake(tiny_config, path, value, words):
    cfg = load_config(tiny_config)
    *parents, last = path.split('.')
    node = cfg
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    node[last] = value
    text = problems_of(cfg)
    assert text.startswith('one problem in') or 'by_epoch' in path, text
    assert all(word in text for word in words), text


@pytest.mark.parametrize('sampler', ['ResumableSampler', 'mmengine.InfiniteSampler'])
def test_epochs_of_a_stream_without_end(tiny_config, sampler):
    cfg = load_config(tiny_config, {'train_dataloader.sampler.type': sampler})
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    assert f"train_dataloader.sampler.type='{sampler}' gives samples without end" in problems_of(cfg)


def test_many_mistakes_come_together_and_repeated_ones_once(tiny_config):
    cfg = load_config(tiny_config)
    cfg.model.decoder.type = 'PlanDecoder'
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = dict(type='CamVid', data_root='/no/such', tasks=cfg.tasks)
    text = problems_of(cfg)
    assert text.startswith('2 problems in')
    assert "data_root='/no/such' does not exist" in text and '--cfg-options data_root=DIR' in text
    assert text.count('/no/such') == 1 and 'also val_dataloader.dataset.data_root, test_dataloader' in text


def test_only_the_parts_that_are_used_are_checked(tiny_config):
    cfg = load_config(tiny_config)
    cfg.train_dataloader.dataset = dict(type='CamVid', data_root='/no/such', tasks=cfg.tasks)
    check_config(cfg, parts=('model', 'test'))
    check_config(cfg, files=False)
    assert 'train_dataloader' in problems_of(cfg, parts=('train',))


def test_a_misspelt_section_is_noticed(tiny_config):
    cfg = load_config(tiny_config)
    cfg.param_schedulers = cfg.pop('param_scheduler')
    assert "'param_schedulers' is not a section of a config. Did you mean 'param_scheduler'?" in problems_of(cfg)


def test_a_task_needs_a_type(tiny_config):
    cfg = load_config(tiny_config)
    cfg.model.tasks.depth.pop('type')
    assert 'model.tasks.depth needs a type' in problems_of(cfg)


def test_a_class_in_place_of_a_name_is_checked_too(tiny_config):
    from mmmtl.models.baselines import PlainDecoder

    cfg = load_config(tiny_config)
    cfg.model.decoder.type = PlainDecoder
    check_config(cfg, parts=('model',))
    cfg.model.decoder.chanels = 1
    assert 'PlainDecoder takes no argument' in problems_of(cfg, parts=('model',))


def test_every_shipped_config_is_right(root_dir):
    files = sorted((root_dir / 'configs').glob('[!_]*/*.py'))
    assert files
    for file in files:
        cfg = load_config(file)
        check_config(cfg, files=False)
        assert impossible_numbers(cfg._cfg_dict) == [], file


def test_files_of_datasets_and_label_maps_must_exist(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.train_dataloader.dataset = dict(
        type='FolderDataset',
        data_root=str(tmp_path),
        split_file='train.txt',
        tasks=cfg.tasks,
        label_sampler=dict(type='LabelMap', path='/no/such.json'),
    )
    text = problems_of(cfg)
    assert f"train_dataloader.dataset.split_file='train.txt' does not exist in '{tmp_path}'" in text
    assert "train_dataloader.dataset.label_sampler.path='/no/such.json' does not exist" in text
    (tmp_path / 'train.txt').write_text('a')
    assert 'split_file' not in problems_of(cfg)


@pytest.mark.parametrize(
    'path, words',
    [
        ('val_evaluator', r'val_cfg needs val_evaluator: give all three'),
        ('val_dataloader', r'val_cfg needs val_dataloader: give all three'),
    ],
)
def test_sections_that_need_each_other(tiny_config, path, words):
    assert re.search(words, problems_of(load_config(tiny_config, {path: None})))

"""Losses, backbones and statistics that do not belong together are refused before anything is learned from them."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from mmmtl.errors import ConfigError
from mmmtl.models.data_preprocessor import MTLDataPreprocessor
from mmmtl.registry import MODELS
from mmmtl.tasks import Boundary, Depth, Saliency, SemanticSegmentation

CLASSES, NUMBERS = torch.zeros(2, 4, 4, dtype=torch.long), torch.ones(2, 1, 4, 4)


@pytest.mark.parametrize(
    'kind, channels, label',
    [
        ('CrossEntropy', 5, NUMBERS),
        ('CrossEntropy', 1, CLASSES),
        ('BalancedCrossEntropy', 5, CLASSES),
        ('WeightedBinaryCrossEntropy', 5, CLASSES),
        ('ThresholdedBinaryCrossEntropy', 2, CLASSES),
        ('MaskedL1', 5, CLASSES),
        ('MaskedL2', 1, NUMBERS.expand(2, 3, 4, 4)),
        ('CosineDistance', 1, NUMBERS),
    ],
)
def test_losses_of_other_tasks(kind, channels, label):
    loss = MODELS.build(dict(type=kind))
    with pytest.raises(ConfigError, match=f'{kind} is a loss for labels of .*another one for this task'):
        loss(torch.zeros(2, channels, 4, 4), label)


@pytest.mark.parametrize(
    'loss, words',
    [
        (dict(type='CrossEntropy', class_weight=[1, 2, 3]), '3 numbers for 5 classes'),
        (dict(type='CrossEntropy', class_weight={'road': 1}), 'a list of numbers'),
        (dict(type='CrossEntropy', class_weight=[1, 1, 1, 1, -1]), 'at least 0'),
        (dict(type='CrossEntropy', class_weight=[1, 1, 1, 1, float('nan')]), 'at least 0'),
        (dict(type='WeightedBinaryCrossEntropy', positive_weight=95), 'between 0 and 1, got 95'),
        (dict(type='ThresholdedBinaryCrossEntropy', positive_weight=1), 'between 0 and 1, got 1'),
    ],
)
def test_weights_that_are_no_weights(loss, words):
    with pytest.raises(ConfigError, match=words):
        MODELS.build(loss)(torch.zeros(2, 5, 4, 4), CLASSES)


class Own(nn.Module):
    """A loss of a plug-in, without ``per_sample``."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind == 'parameters':
            self.weight = nn.Parameter(torch.ones(1))

    def forward(self, logits, label, **more):
        square = (logits - label).square()
        made = dict(item=square.mean().item(), map=square, detached=square.mean().detach(), none=None)
        return made.get(self.kind, square.mean())


@pytest.mark.parametrize(
    'kind, words',
    [
        ('item', 'found float'),
        ('map', r'shape \(\).*found a tensor \(2, 1, 4, 4\)'),
        ('detached', 'without a gradient'),
        ('none', 'found NoneType'),
        ('parameters', 'has parameters'),
        ('sample', r'shape \(2,\).*found a tensor \(\)'),
    ],
)
def test_losses_that_would_not_train(kind, words, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'OwnLoss', Own)
    with pytest.raises(ConfigError, match=words):
        Depth(loss=dict(type='OwnLoss', kind=kind)).loss(NUMBERS.clone().requires_grad_(), NUMBERS, kind == 'sample')


def test_a_loss_of_two_arguments_is_enough(monkeypatch):
    monkeypatch.setitem(
        MODELS.module_dict, 'OwnLoss', type('Plain', (nn.Module,), dict(forward=lambda s, x, y: (x - y).sum()))
    )
    assert float(Depth(loss=dict(type='OwnLoss')).loss(NUMBERS, NUMBERS * 2)) == -32


@pytest.mark.parametrize('name', ['my.depth', 'my/depth', '..', 'my depth', 'keys', 'shape', 'training', 3])
def test_names_that_no_task_can_have(name):
    with pytest.raises(ConfigError, match="letters, digits, '_' and '-'"):
        Depth(name)


def test_words_of_python_are_names():
    assert [Depth(name).name for name in ('class', 'tiefe_ü', 'depth-2')] == ['class', 'tiefe_ü', 'depth-2']


@pytest.mark.parametrize(
    'make, words',
    [
        (lambda: SemanticSegmentation(classes='road'), "got 'road'"),
        (lambda: SemanticSegmentation(classes={'road': 1, 'sky': 0}), 'in the order of their numbers'),
        (lambda: SemanticSegmentation(classes=['road', 'road']), 'different names'),
        (lambda: SemanticSegmentation(classes=2, palette=[(0, 0, 0), (0.5, 0.5, 1.0)]), r'0\.\.255, got \(0.5'),
        (lambda: SemanticSegmentation(classes=2, palette=[(0, 0, 0), (300, 0, 0)]), r'got \(300'),
        (lambda: SemanticSegmentation(classes=2, palette=['#000000', '#ffffff']), "got '#000000'"),
        (lambda: Depth(max_depth=0), 'above 0, got 0'),
        (
            lambda: type('Reversed', (Depth,), dict(value_range=(1, 0)))(),
            r'value_range=\(low, high\), found .*\(1, 0\)',
        ),
        (lambda: type('Empty', (Depth,), dict(channels=0))(), 'found channels=0'),
        (lambda: MTLDataPreprocessor((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), 'divide numbers .* by 255'),
        (lambda: MTLDataPreprocessor((0, 0, 0), (255, 255, 255)), 'divide numbers .* by 255'),
        (lambda: MTLDataPreprocessor((float('nan'),) * 3, (0.5,) * 3), r'values in \[0, 1\]'),
    ],
)
def test_numbers_of_another_scale(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_two_class_tasks_take_their_own_losses():
    for task, channels in ((Saliency(), 2), (Saliency(out_channels=1), 1), (Boundary(), 1)):
        assert task.loss(torch.zeros(2, channels, 4, 4, requires_grad=True), CLASSES, per_sample=True).shape == (2,)


# ---- backbones -----------------------------------------------------------------------------------------------------
class Levels(nn.Module):
    """A backbone of somebody else's."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.kind = nn.Conv2d(3, 8, 1), kind

    def forward(self, x):
        fine = nn.functional.avg_pool2d(self.conv(x), 4)
        forms = dict(
            dict={'0': fine},
            tensor=fine,
            tokens=(fine.flatten(2).transpose(1, 2),),
            channels_last=(fine.permute(0, 2, 3, 1),),
            maps=[fine, nn.functional.avg_pool2d(fine, 2)],
        )
        return forms[self.kind]


def model_of(backbone, **options):
    tasks = dict(depth=dict(type='Depth'))
    decoder = dict(type='PlainDecoder', channels=8, num_blocks=1)
    neck = dict(type='LevelProjection', channels=8)
    return MODELS.build(
        dict(type='MultiTaskModel', tasks=tasks, backbone=backbone, neck=neck, decoder=decoder, **options)
    )


@pytest.mark.parametrize('kind', ['dict', 'tensor', 'tokens', 'channels_last'])
def test_backbones_that_give_no_maps(kind, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Levels', Levels)
    with pytest.raises(ConfigError, match='Levels must give a tuple of maps'):
        model_of(dict(type='Levels', kind=kind))
    assert model_of(dict(type='Levels', kind='maps'))(torch.zeros(1, 3, 16, 24))['depth'].shape == (1, 1, 16, 24)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(out_indices=(1, 1, 2)), 'named twice'),
        (dict(out_indices=3), 'expected numbers of levels'),
        (dict(features_only=True), "'features_only' has no place"),
        (dict(model_name='resnet10t.none'), 'resnet10t.none.*tag'),
    ],
)
def test_arguments_that_this_package_sets_itself(options, words):
    with pytest.raises(ConfigError, match=words):
        MODELS.build(dict(dict(type='TimmBackbone', model_name='resnet10t'), **options))


def test_statistics_of_pretrained_weights_are_compared(tmp_path, monkeypatch):
    small = dict(
        type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=(32, 32), embed_dim=24, depth=2, num_heads=2
    )
    small |= dict(out_indices=(0, 1))
    torch.save(MODELS.build(small).body.state_dict(), tmp_path / 'vit.pth')
    said: list[str] = []
    keep = logging.Handler()
    keep.emit = lambda record: said.append(record.getMessage())
    MMLogger.get_instance('statistics', log_level='INFO').addHandler(keep)
    for statistics, lines in ((None, 1), (dict(mean=(0.5,) * 3, std=(0.5,) * 3), 0)):
        said.clear()
        model_of(dict(small, checkpoint=str(tmp_path / 'vit.pth')), data_preprocessor=statistics).init_weights()
        assert sum('mean=(0.5, 0.5, 0.5)' in line for line in said) == lines

"""Components of mmsegmentation by scope: backbones with weights from files, decode heads, a data set, a transform."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmmtl.analysis.complexity import count_complexity
from mmmtl.config import load_config
from mmmtl.config.check import check_config
from mmmtl.datasets import IndexedDataset, SegmentationSet
from mmmtl.datasets.preparation.indexing import make_index
from mmmtl.datasets.transforms import ColourStep
from mmmtl.errors import CheckpointError, ConfigError, NotFoundError
from mmmtl.models.backbones.pretrained import _own_names
from mmmtl.registry import DATASETS, MODELS

pytest.importorskip('mmseg')

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=list('abcd')), depth=dict(type='Depth', max_depth=10.0))
BN = dict(type='BN')
STAGES = dict(
    stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(8,)),
    stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1), num_channels=(8, 16)),
    stage3=dict(num_modules=1, num_branches=3, block='BASIC', num_blocks=(1, 1, 1), num_channels=(8, 16, 16)),
    stage4=dict(num_modules=1, num_branches=4, block='BASIC', num_blocks=(1,) * 4, num_channels=(8, 16, 16, 16)),
)
PYRAMID = dict(embed_dims=[8, 16, 16, 32], num_heads=[1, 2, 2, 4], mlp_ratios=[2, 2, 2, 2], depths=[1, 1, 1, 1])
BACKBONES = {
    'ResNet': dict(type='mmseg.ResNetV1c', depth=18, base_channels=8, norm_cfg=BN),
    'ResNeXt': dict(type='mmseg.ResNeXt', depth=50, groups=4, base_width=4, base_channels=16, norm_cfg=BN),
    'HRNet': dict(type='mmseg.HRNet', extra=STAGES, norm_cfg=BN),
    'Swin': dict(
        type='mmseg.SwinTransformer', embed_dims=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=4
    ),
    'MiT': dict(type='mmseg.MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 2, 4, 4]),
    'ConvNeXt': dict(type='mmseg.TIMMBackbone', model_name='convnext_atto', features_only=True, pretrained=False),
    'Twins': dict(type='mmseg.SVT', **{**PYRAMID, 'depths': [2] * 4}, sr_ratios=[4, 2, 1, 1], windiow_sizes=[4] * 4),
    'PVT': dict(type='mmseg.PCPVT', **PYRAMID, qkv_bias=True),
    'MobileNet': dict(type='mmseg.MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6), norm_cfg=BN),
    'BEiT': dict(
        type='mmseg.BEiT', img_size=(64, 96), embed_dims=32, num_layers=4, num_heads=2, out_indices=(1, 3), mlp_ratio=2
    ),
    'ViT': dict(type='mmseg.VisionTransformer', img_size=(64, 96), embed_dims=32, num_layers=2, num_heads=2),
    'MSCAN': dict(type='mmseg.MSCAN', embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1], norm_cfg=BN),
}
DECODERS = [
    dict(type='PlainDecoder', channels=8, num_blocks=1),
    dict(type='DiffusionMTLDecoder', mode='feature', denoiser=dict(type='CrossDenoiser', hidden=8)),
    dict(type='DecodeHeads', head=dict(type='mmseg.SegformerHead', in_index=[0, 1, 2, 3], channels=8, norm_cfg=BN)),
]


def build(backbone, decoder=DECODERS[0], neck=None, tasks=TASKS):
    return MODELS.build(
        dict(type='MultiTaskModel', tasks=tasks, backbone=backbone, neck=neck, decoder=decoder, data_preprocessor=None)
    )


def targets(batch=2, size=(64, 96)):
    label = torch.randint(0, 4, (batch, *size))
    return dict(semseg=(torch.arange(batch), label), depth=(torch.arange(batch), label[:, None] + 1.0))


def step(model):
    """The names of the weights that one batch has given no gradient, or one that is not finite."""
    loss = model.parse_losses(model(torch.randn(2, 3, 64, 96), mode='loss', targets=targets()))[0]
    loss.backward()
    return [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]


@pytest.mark.parametrize(('number', 'name'), list(enumerate(BACKBONES)))
def test_a_backbone_learns_with_a_decoder_and_starts_from_a_whole_networks_checkpoint(tmp_path, number, name):
    torch.manual_seed(0)
    decoder = DECODERS[number % len(DECODERS)]
    neck = dict(type='ConcatFusion', channels=8, stride=8) if decoder['type'] == 'DiffusionMTLDecoder' else None
    model = build(BACKBONES[name], decoder, neck)
    without = step(model)
    # BEiT's and ViT's last norm and the classification heads of pyramids stand behind the levels that are used
    assert not [n for n in without if not n.startswith('backbone.')] and len(without) <= 8, without
    # as mmsegmentation and mmpretrain write it: a network whose weights begin with backbone., others beside them
    own = {
        f'backbone.{k}': torch.rand_like(v) if v.is_floating_point() else v
        for k, v in model.backbone.state_dict().items()
    }
    torch.save(dict(meta=dict(epoch=1), state_dict={**own, 'head.fc.weight': torch.zeros(2, 2)}), tmp_path / 'w.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'))
    started = build({**BACKBONES[name], 'init_cfg': init_cfg}, decoder, neck)
    started.init_weights()
    loaded = started.backbone.state_dict()
    assert [k for k, v in loaded.items() if not torch.equal(v, own[f'backbone.{k}'])] == []


def test_a_backbone_that_reads_numbers_while_it_is_built_is_counted():
    model = dict(type='MultiTaskModel', tasks=TASKS, backbone=BACKBONES['Swin'], decoder=DECODERS[0])
    found = count_complexity(Config(dict(model=model)), (64, 96)).total()
    assert found.parameters == sum(p.numel() for p in MODELS.build(model).parameters()) and found.layers > 1e6


@pytest.mark.parametrize('prefix', ['teacher.net', 'teacher.net.'])
def test_a_prefix_may_end_in_a_dot(prefix):
    """mmengine adds the dot, and configs of mmpretrain leave it out."""
    state = {'teacher.net.w': torch.ones(1), 'teacher.network': torch.zeros(1)}
    assert _own_names(state, {'w': torch.zeros(1)}, prefix) == {'w': 1}


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save(dict(state_dict={'layers.0.weight': torch.zeros(3)}), tmp_path / 'w.pth')
    backbone = dict(BACKBONES['ResNet'], init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')))
    with pytest.raises(CheckpointError, match=r"not one of its 1 tensors \(such as \['layers.0.weight'\]\)"):
        build(backbone).init_weights()


HEADS = {
    'UPerHead': dict(type='mmseg.UPerHead', in_index=[0, 1, 2, 3], pool_scales=(1, 2), channels=8, norm_cfg=BN),
    'SegformerHead': dict(type='mmseg.SegformerHead', in_index=[0, 1, 2, 3], channels=8, norm_cfg=BN),
    'ASPPHead': dict(type='mmseg.ASPPHead', in_index=2, channels=8, dilations=(1, 2), norm_cfg=BN),
}


def test_decode_heads_are_heads_of_tasks():
    heads = dict(depth=HEADS['ASPPHead'])
    model = build(BACKBONES['ResNet'], dict(type='DecodeHeads', head=HEADS['UPerHead'], heads=heads))
    assert {n: type(h).__name__ for n, h in model.decoder.heads.items()} == dict(semseg='UPerHead', depth='ASPPHead')
    assert step(model) == []
    raw = model.eval()(torch.randn(1, 3, 64, 96))
    assert raw['semseg'].shape == (1, 4, 64, 96) and raw['depth'].shape == (1, 1, 64, 96)
    assert step(build(BACKBONES['ResNet'], dict(type='DecodeHeads', head=HEADS['SegformerHead']))) == []


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(heads=dict(dept=HEADS['ASPPHead'])), "heads: 'dept' is not a task. Did you mean 'depth'"),
        (dict(heads=dict(depth=HEADS['ASPPHead'])), r"the tasks \['semseg'\] have no head"),
        (dict(head=dict(HEADS['ASPPHead'], in_index=4)), 'in_index=4, but there are 4 levels'),
        (dict(head=dict(type='mmseg.UperHead')), "Did you mean 'mmseg.UPerHead'"),
    ],
)
def test_heads_that_cannot_be(options, words):
    with pytest.raises(ConfigError, match=words):
        build(BACKBONES['ResNet'], dict(type='DecodeHeads', **options))


CONFIG = """
_base_ = ['mmmtl::_base_/default_runtime', 'mmmtl::_base_/datasets/diorama']
colours = dict(type='ColourStep', transform=dict(type='mmseg.PhotoMetricDistortion'))
pipeline = [colours, *_base_.train_pipeline]
ade = dict(
    type='SegmentationSet',
    tasks=dict(semseg=_base_.tasks['semseg']),
    pipeline=pipeline,
    source=dict(
        type='mmseg.ADE20KDataset',
        data_root='ROOT',
        data_prefix=dict(img_path='images', seg_map_path='annotations'),
        metainfo=dict(classes=CLASSES)))
own = dict(type='Diorama', length=4, size=_base_.crop_size, tasks=_base_.tasks, pipeline=pipeline)
train_dataloader = dict(dataset=dict(_delete_=True, type='MixedDataset', datasets=[own, ade]))
"""


@pytest.fixture
def ade(tmp_path):
    """Two images of a set as mmsegmentation has it: numbers from 1, 0 unknown, a tenth class that is not chosen."""
    for folder in ('images/deep', 'annotations/deep'):
        (tmp_path / folder).mkdir(parents=True)
    for k in range(2):
        label = np.full((40, 50), 4, np.uint8)
        label[:10], label[10:20], label[20:30] = 0, 1, 10
        cv2.imwrite(str(tmp_path / f'images/deep/{k}.jpg'), np.full((40, 50, 3), 90 * k + 20, np.uint8))
        cv2.imwrite(str(tmp_path / f'annotations/deep/{k}.png'), label)
    return tmp_path


def source(root, **options):
    prefix = dict(img_path='images', seg_map_path='annotations')
    classes = ('wall', 'floor')  # the first and the fourth of ADE20K
    return dict(
        type='mmseg.ADE20KDataset', data_root=str(root), data_prefix=prefix, metainfo=dict(classes=classes), **options
    )


def of(root, classes=('wall', 'floor'), **options):
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=list(classes)))
    return SegmentationSet(tasks=tasks, source=source(root), **options)


def test_a_data_set_of_mmsegmentation_labels_one_task(ade):
    data = of(ade)
    assert [data.get_data_info(k)['sample_id'] for k in range(2)] == ['0', '1']
    label = data.load_label(data.get_data_info(1), 'semseg')
    assert [int(label[row, 0]) for row in (0, 10, 20, 30)] == [255, 0, 255, 1]
    with pytest.raises(ConfigError, match=r"tasks\['semseg'\] has 3 classes, ADE20KDataset has 2"):
        of(ade, ('wall', 'floor', 'sky'))
    with pytest.raises(NotFoundError):
        of(ade / 'images')
    make_index(
        dict(type='SegmentationSet', source=source(ade), tasks=data.tasks), str(ade / 'i.parquet'), progress=False
    )
    ade.rename(ade.with_name('moved'))
    indexed = IndexedDataset(
        str(ade.with_name('moved') / 'i.parquet'), data.tasks, data_root=str(ade.with_name('moved'))
    )
    np.testing.assert_array_equal(indexed[1]['gt']['semseg'], label)


def test_it_stands_beside_another_data_set_in_a_config(ade, tmp_path):
    config = tmp_path / 'mixed.py'
    names = ('wall', 'floor', 'sky', 'tree', 'ceiling', 'road', 'grass', 'door')
    config.write_text(CONFIG.replace('ROOT', str(ade)).replace('CLASSES', repr(names)))
    cfg = load_config(config)
    check_config(cfg, parts=('train',), files=False)
    data = DATASETS.build(cfg.train_dataloader.dataset)
    labelled = [tuple(data[k]['data_samples'].labeled_tasks) for k in (0, len(data) - 1)]
    assert labelled[1] == ('semseg',) and set(labelled[0]) > {'semseg', 'depth'}


def test_a_colour_transform_of_mmsegmentation():
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    draw = lambda seed: ColourStep(dict(type='mmseg.PhotoMetricDistortion')).transform(  # noqa: E731
        dict(img=image.copy(), img_next=image.copy(), rng=random.Random(seed))
    )
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = draw(1), draw(1), draw(2)
    assert np.array_equal(first['img'], first['img_next']) and np.array_equal(first['img'], again['img'])
    assert not np.array_equal(first['img'], other['img']) and first['img'].dtype == np.uint8
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    grey = ColourStep(dict(type='mmseg.RGB2Gray', out_channels=3, weights=(1, 0, 0)))  # blue alone
    seen = grey.transform(dict(img=image.copy(), rng=random.Random(0)))['img']
    assert np.array_equal(seen, np.repeat(image[..., 2:], 3, 2))
    grey.transform(dict(img=image.copy(), rng=random.Random(0), test_mode=True))
    drawing = ColourStep(dict(type='mmseg.PhotoMetricDistortion'))
    with pytest.raises(ConfigError, match='PhotoMetricDistortion changes the images at random'):
        drawing.transform(dict(img=image.copy(), rng=random.Random(0), test_mode=True))


@pytest.mark.parametrize(
    'step',
    [
        dict(type='mmseg.RandomFlip', prob=1.0),
        dict(type='mmseg.Resize', scale=(8, 8)),
        dict(type='mmseg.RandomRotate', prob=1.0, degree=20),
    ],
)
def test_a_transform_that_moves_pixels_is_refused(step):
    results = dict(img=np.zeros((16, 20, 3), np.uint8), rng=random.Random(0))
    with pytest.raises(ConfigError, match='moves pixels or changes the size'):
        ColourStep(step).transform(results)

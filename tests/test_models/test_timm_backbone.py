"""Families of timm models as backbones: levels, layouts, gradients, weights, frozen parts, mistakes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import timm
import torch
from torch import nn

from mmmtl.apis import Inferencer
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.models.backbones import TimmBackbone
from mmmtl.models.backbones.timm_weights import grid_of_positions
from tests.distributed import run_ranks

SIZE = (64, 96)
SHORT = dict(depth=4)
FAMILIES = {
    'vit_tiny_patch16_224': SHORT,
    'vit_small_patch14_reg4_dinov2': dict(img_size=(56, 84), embed_dim=96, num_heads=3, **SHORT),
    'deit_tiny_patch16_224': SHORT,
    'deit_tiny_distilled_patch16_224': SHORT,
    'deit3_small_patch16_224': dict(embed_dim=96, num_heads=3, **SHORT),
    'beit_base_patch16_224': dict(embed_dim=96, num_heads=3, **SHORT),
    'eva02_tiny_patch14_224': dict(img_size=(56, 84), **SHORT),
    'vit_small_patch16_dinov3': dict(embed_dim=96, num_heads=3, **SHORT),
    'xcit_nano_12_p16_224': SHORT,
    'convit_tiny': dict(img_size=(64, 64)),
    'cait_xxs24_224': SHORT,
    'swin_tiny_patch4_window7_224': dict(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4)),
    'swinv2_tiny_window8_256': dict(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4)),
    'pvt_v2_b0': {},
    'maxvit_rmlp_pico_rw_256': dict(img_size=(64, 64)),
    'mobilevit_xxs': {},
    'coat_lite_tiny': dict(img_size=(64, 64)),
    'poolformer_s12': {},
    'convnext_atto': {},
    'edgenext_xx_small': {},
    'resnet10t': {},
    'regnetx_002': {},
    'hrnet_w18_small': {},
    'efficientnet_b0': {},
    'mobilenetv2_100': {},
    'mobilenetv3_small_050': {},
    'mobilenetv4_conv_small': {},
    'ghostnet_050': {},
    'starnet_s1': {},
    'mambaout_femto': {},
    'efficientvit_b0': {},
    'repvgg_a0': {},
}


def made(name: str, **more) -> tuple[TimmBackbone, tuple[int, int]]:
    options = {'img_size': SIZE, **FAMILIES[name], **more}
    torch.manual_seed(0)
    return TimmBackbone(name, **options), options['img_size']


@pytest.mark.parametrize('name', FAMILIES)
def test_levels_are_the_models_own_and_train(name):
    warnings.simplefilter('ignore')
    backbone, size = made(name)
    image = torch.randn(2, 3, *size)
    theirs = timm.create_model(
        name,
        num_classes=0,
        **({'img_size': size} if 'img_size' in FAMILIES[name] or backbone.of_blocks or 'swin' in name else {}),
        **{k: v for k, v in FAMILIES[name].items() if k != 'img_size'},
        **(dict(class_token=False, global_pool='') if backbone.plain_vit else {}),
    )
    loaded = theirs.load_state_dict(backbone.body.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    indices = list(backbone.out_indices)
    with torch.no_grad():
        levels = backbone.eval()(image)
        plain = theirs.eval().forward_intermediates(image, indices=indices, norm=False, intermediates_only=True)
        if backbone.of_blocks:
            last = theirs.forward_intermediates(image, indices=indices, norm=True, intermediates_only=True)[-1]
            plain[-1] = last
    assert len(levels) == len(plain) >= 3
    for level, expected, channels, stride in zip(levels, plain, backbone.out_channels, backbone.strides):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)
        assert level.shape == (2, channels, *(-(-n // stride) for n in size))
    backbone.train()
    sum(level.square().mean() for level in backbone(image)).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'deit_tiny_patch16_224', 'vit_small_patch16_dinov3'])
def test_levels_reach_to_the_last_block_and_other_sizes_work(name):
    backbone, _ = made(name)
    assert backbone.out_indices == (0, 1, 2, 3)
    assert made(name, depth=8)[0].out_indices == (1, 3, 5, 7)
    with torch.no_grad():
        assert backbone.eval()(torch.randn(1, 3, 32, 128))[0].shape[-2:] == (2, 8)


@pytest.mark.parametrize('name', ['resnet10t', 'beit_base_patch16_224', 'swinv2_tiny_window8_256', 'convnext_atto'])
def test_unknown_arguments_and_levels_are_named(name):
    known = 'drop_path_rate'
    with pytest.raises(ConfigError, match=rf"no argument 'drop_path_rat'.*{known}"):
        made(name, drop_path_rat=0.1)
    with pytest.raises(ConfigError, match='out_indices.*levels 0 to'):
        made(name, out_indices=(0, 70))


def test_size_that_a_model_does_not_take_is_a_mistake_in_the_config():
    backbone, _ = made('cait_xxs24_224')
    with pytest.raises(ConfigError, match='does not take images of 60x100'):
        backbone(torch.randn(1, 3, 60, 100))
    backbone, _ = made('deit_tiny_patch16_224')
    with pytest.raises(ConfigError, match='does not take images of 60x100'):
        backbone(torch.randn(1, 3, 60, 100))


@pytest.mark.parametrize(
    ('count', 'own', 'usual', 'stated', 'grid'),
    [
        (16, (4, 4), (14, 14), None, (4, 4)),
        (196, (2, 8), (14, 14), None, (14, 14)),
        (15, (3, 5), (14, 14), None, (3, 5)),
        (16, (2, 8), (14, 14), (2, 8), (2, 8)),
    ],
)
def test_grid_of_stored_positions(count, own, usual, stated, grid):
    assert grid_of_positions(count, own, usual, stated) == grid


@pytest.mark.parametrize(('count', 'stated'), [(16, None), (15, None), (16, (3, 5))])
def test_grid_that_stays_open_is_asked_for(count, stated):
    with pytest.raises(ConfigError, match='checkpoint_grid'):
        grid_of_positions(count, (2, 8), (14, 14), stated)


@pytest.mark.parametrize('name', ['deit3_small_patch16_224', 'swin_tiny_patch4_window7_224', 'resnet10t'])
def test_local_weights_of_another_size_are_brought_to_this_one(name, tmp_path):
    options = {k: v for k, v in FAMILIES[name].items() if k != 'img_size'}
    torch.manual_seed(5)
    full = timm.create_model(name, num_classes=7, **options)
    torch.save(full.state_dict(), tmp_path / 'weights.pth')
    backbone, _ = made(name, checkpoint=str(tmp_path / 'weights.pth'))
    backbone.init_weights()
    key = next(k for k, v in backbone.body.named_parameters() if v.ndim > 1 and 'pos' not in k)
    assert torch.equal(backbone.body.state_dict()[key], full.state_dict()[key])


def test_positions_of_a_rectangle_of_the_same_count_are_resampled(tmp_path):
    full = timm.create_model('deit_tiny_patch16_224', num_classes=0, depth=4)
    torch.save(full.state_dict(), tmp_path / 'weights.pth')
    options = dict(img_size=(112, 448), checkpoint=str(tmp_path / 'weights.pth'))
    with pytest.raises(ConfigError, match='checkpoint_grid'):
        made('deit_tiny_patch16_224', **options)[0].init_weights()
    backbone, _ = made('deit_tiny_patch16_224', checkpoint_grid=(14, 14), **options)
    backbone.init_weights()
    found, square = backbone.body.pos_embed, full.pos_embed[:, 1:]
    assert found.shape == full.pos_embed.shape and torch.equal(found[:, 0], full.pos_embed[:, 0])
    expected = nn.functional.interpolate(
        square.unflatten(1, (14, 14)).permute(0, 3, 1, 2), (7, 28), mode='bicubic', antialias=True
    )
    torch.testing.assert_close(found[:, 1:], expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ('name', 'stages', 'still', 'moving'),
    [
        ('resnet10t', 0, ['conv1.0.weight'], ['layer1.0.conv1.weight']),
        ('resnet10t', 2, ['layer2.0.conv1.weight'], ['layer3.0.conv1.weight']),
        ('vit_tiny_patch16_224', 2, ['pos_embed', 'patch_embed.proj.weight', 'blocks.1.norm1.weight'], ['norm.weight']),
        ('swin_tiny_patch4_window7_224', 1, ['patch_embed.proj.weight'], ['layers.1.blocks.0.norm1.weight']),
        ('efficientnet_b0', 1, ['conv_stem.weight', 'blocks.1.0.conv_pw.weight'], ['blocks.2.0.conv_pw.weight']),
    ],
)
def test_frozen_stages_stay_still(name, stages, still, moving):
    backbone, size = made(name, frozen_stages=stages, drop_path_rate=0.5)
    backbone.train()
    frozen = {n for n, p in backbone.body.named_parameters() if not p.requires_grad}
    assert set(still) <= frozen and not set(moving) & frozen
    norms = {n: m for n, m in backbone.body.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {n: m.running_mean.clone() for n, m in norms.items()}
    backbone(torch.randn(2, 3, *size))
    changed = {n for n, m in norms.items() if not torch.equal(m.running_mean, before[n])}
    assert changed == {n for n in norms if f'{n}.weight' not in frozen}
    for module_name, module in backbone.body.named_modules():
        own = [f'{module_name}.{n}' for n, _ in module.named_parameters()]
        if own and set(own) <= frozen:
            assert not module.training, module_name


def test_frozen_backbone_gives_the_same_in_training_and_gets_no_gradient():
    backbone, size = made('convnext_atto', frozen=True, drop_path_rate=0.9)
    image = torch.randn(1, 3, *size)
    expected = backbone.eval()(image)
    found = backbone.train()(image)
    assert all(torch.equal(a, b) for a, b in zip(found, expected)) and not found[-1].requires_grad
    with pytest.raises(ConfigError, match='frozen_stages.*4 stages'):
        made('convnext_atto', frozen_stages=5)


SIZES = {
    'vit_tiny_patch16_224': (16, None),
    'deit_tiny_patch16_224': (16, None),
    'eva02_tiny_patch14_224': (14, None),
    'beit_base_patch16_224': (16, SIZE),
    'cait_xxs24_224': (16, SIZE),
    'convit_tiny': (16, (64, 64)),
    'coat_lite_tiny': (1, (64, 64)),
    'swin_tiny_patch4_window7_224': (32, None),
    'swinv2_tiny_window8_256': (32, None),
    'hrnet_w18_small': (32, None),
    'resnet10t': (1, None),
}


@pytest.mark.parametrize('name', SIZES)
def test_sizes_are_declared_and_are_those_that_work(name):
    with torch.device('meta'):
        backbone = made(name)[0].eval()
    multiple, fixed = SIZES[name]
    assert (backbone.size_multiple, backbone.fixed_size) == (multiple, fixed)
    height, width = fixed or (4 * multiple + 64 * (multiple == 1), 7 * multiple + 64 * (multiple == 1))
    with torch.no_grad():
        assert len(backbone(torch.empty(1, 3, height, width, device='meta'))) >= 3
        if fixed:
            with pytest.raises(ConfigError, match='does not take images of'):
                backbone(torch.empty(1, 3, height + 32, width + 32, device='meta'))


ALONE = (  # one of each way in which levels are made
    'vit_tiny_patch16_224 vit_small_patch14_reg4_dinov2 deit_tiny_distilled_patch16_224 beit_base_patch16_224 '
    'eva02_tiny_patch14_224 vit_small_patch16_dinov3 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 pvt_v2_b0 '
    'convnext_atto resnet10t mobilenetv3_small_050'
).split()


def train_two_steps() -> list[str]:
    """Two iterations of every backbone on one of two ranks, without a search for unused parameters; what failed."""
    torch.distributed.init_process_group('gloo')
    failed = []
    for name in ALONE:
        backbone, size = made(name)
        model = nn.parallel.DistributedDataParallel(backbone.train())
        try:
            for _ in range(2):
                sum(level.square().mean() for level in model(torch.randn(1, 3, *size))).backward()
        except RuntimeError as error:
            failed.append(f'{name}: {error}')
    return failed


def test_two_processes_have_no_unused_parameters():
    for ok, result in run_ranks(train_two_steps, 2):
        assert ok and result == [], result


def test_a_photograph_of_any_size_through_a_backbone_of_one_size(tiny_config):
    backbone = dict(type='TimmBackbone', model_name='beit_base_patch16_224', img_size=(32, 48), embed_dim=24, depth=4)
    options = {'model.backbone': dict(backbone, num_heads=2, _delete_=True), 'size': (32, 48)}
    inferencer = Inferencer(load_config(tiny_config, options), device='cpu')
    assert inferencer.sizes.fixed == (32, 48)
    photograph = np.random.default_rng(0).integers(0, 256, (57, 41, 3), np.uint8)
    assert inferencer(photograph, panels=False)[0].pred['depth'].shape == (1, 57, 41)

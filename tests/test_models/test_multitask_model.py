"""The model's contract: losses on partial labels, predictions at the original size, any backbone, any task."""

from __future__ import annotations

import pytest
import torch

from mmmtl.errors import ConfigError, InputError
from mmmtl.models import MultiTaskModel
from mmmtl.models.backbones import TimmBackbone
from mmmtl.models.backbones.timm_weights import resample_position_embedding
from mmmtl.ops import attention
from mmmtl.structures import MTLDataSample

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=4), depth=dict(type='Depth'), normals=dict(type='SurfaceNormals')
)
VIT = dict(
    type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=(32, 48), embed_dim=24, depth=4, num_heads=2
)


def model_of(tasks=TASKS, backbone=VIT, decoder=None, **kwargs) -> MultiTaskModel:
    torch.manual_seed(0)
    decoder = decoder or dict(type='PlainDecoder', channels=16, num_blocks=1)
    return MultiTaskModel(tasks=tasks, backbone=backbone, decoder=decoder, **kwargs).eval()


def targets_of(size=(32, 48)) -> dict:
    depth = torch.rand(1, 1, *size) + 1
    depth[..., :4] = float('nan')
    return dict(semseg=(torch.tensor([0, 1]), torch.randint(0, 4, (2, *size))), depth=(torch.tensor([1]), depth))


def test_losses_have_a_key_per_task_and_zero_where_nobody_is_labelled():
    model = model_of(neck=dict(type='LevelProjection', channels=16)).train()
    losses = model(torch.randn(2, 3, 32, 48), mode='loss', targets=targets_of())
    assert set(losses) == {'loss_semseg', 'loss_depth', 'loss_normals'}
    assert losses['loss_normals'] == 0 and losses['loss_normals'].requires_grad
    sum(losses.values()).backward()
    dead = {'backbone.body.norm.weight'} - set()
    without = [n for n, p in model.named_parameters() if p.grad is None and n not in dead]
    assert without == []
    assert model.decoder.heads['normals'].weight.grad.abs().sum() == 0


def test_a_batch_without_any_label_trains_nothing_but_keeps_the_graph():
    model = model_of().train()
    losses = model(torch.randn(2, 3, 32, 48), mode='loss', targets={})
    total = sum(losses.values())
    total.backward()
    assert total == 0
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in model.decoder.parameters())


def test_labels_of_tasks_that_the_model_lacks_weigh_nothing():
    model = model_of(decoder=dict(type='PlainDecoder', channels=16, num_blocks=1, loss_reduction='balanced'))
    images, targets = torch.randn(2, 3, 32, 48), targets_of()
    losses = model(images, mode='loss', targets=targets)
    foreign = (torch.tensor([0, 1]), torch.zeros(2, 32, 48, dtype=torch.long))
    assert model(images, mode='loss', targets=dict(targets, saliency=foreign)) == losses


def test_what_an_unlabelled_task_predicts_does_not_count():
    decoder, raw = model_of().decoder, {}
    for name, task in decoder.tasks.items():
        raw[name] = torch.full((1, task.out_channels, 4, 4), float('inf'), requires_grad=True)
    losses = decoder.task_losses(raw, {}, (8, 8))
    sum(losses.values()).backward()
    assert all(loss == 0 for loss in losses.values()) and all((x.grad == 0).all() for x in raw.values())


def test_tasks_that_are_not_there_and_losses_without_targets_are_refused():
    for mode in ('tensor', 'predict'):
        with pytest.raises(InputError, match="the model has no 'dept'.*Did you mean 'depth'"):
            model_of()(torch.randn(1, 3, 32, 48), mode=mode, tasks=['semseg', 'dept'])
    with pytest.raises(InputError, match='data_preprocessor'):
        model_of()(torch.randn(2, 3, 32, 48), mode='loss')


def test_predictions_are_unpadded_and_at_the_original_size():
    model = model_of()
    samples = [
        MTLDataSample(metainfo=dict(sample_id='a', ori_shape=(30, 45), padding=(1, 2, 1, 1))),
        MTLDataSample(metainfo=dict(sample_id='b', ori_shape=(60, 90), padding=(1, 2, 1, 1))),
    ]
    inputs = torch.randn(2, 3, 32, 48)
    out = model(inputs, samples, mode='predict')
    raw = model(inputs, samples, mode='tensor')
    assert out[0].pred.depth.shape == (1, 30, 45) and out[1].pred.depth.shape == (1, 60, 90)
    assert out[0].pred.semseg.dtype == torch.int64
    torch.testing.assert_close(out[0].pred.depth, raw['depth'][0, :, 1:31, 1:46].clamp_min(0))
    torch.testing.assert_close(out[1].pred.normals.norm(dim=0), torch.ones(60, 90))


def test_one_by_one_gives_the_same_digits_for_every_batch():
    model = model_of(predict_one_by_one=True)
    inputs = torch.randn(3, 3, 32, 48)
    ids = [MTLDataSample(metainfo=dict(sample_id=str(i), ori_shape=(32, 48))) for i in range(3)]
    together = [s.pred.depth.clone() for s in model(inputs, ids, mode='predict')]
    for i in range(3):
        torch.testing.assert_close(
            model(inputs[i : i + 1], ids[i : i + 1], mode='predict')[0].pred.depth, together[i], rtol=0, atol=0
        )


def test_motion_tasks_see_both_frames():
    model = model_of(tasks=dict(flow=dict(type='OpticalFlow'), depth=dict(type='Depth')))
    pair = torch.randn(2, 2, 3, 32, 48)
    raw = model(pair)
    assert raw['flow'].shape == (2, 2, 32, 48)
    assert not torch.allclose(raw['flow'], model(pair.flip(1))['flow'])
    with pytest.raises(ValueError, match='need two frames'):
        model(pair[:, 0])
    single = model_of()
    torch.testing.assert_close(single(pair)['depth'], single(pair[:, 0])['depth'])


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='TimmBackbone', model_name='resnet10t'),
        dict(type='TimmBackbone', model_name='test_convnext'),
        dict(type='mmseg.ResNetV1c', depth=18, base_channels=8, out_indices=(0, 1, 2, 3)),
    ],
)
def test_any_backbone_goes_with_any_neck(backbone):
    for neck in (None, dict(type='LevelProjection', channels=8), dict(type='ConcatFusion', channels=8, stride=8)):
        raw = model_of(backbone=backbone, neck=neck)(torch.randn(1, 3, 64, 96))
        assert raw['semseg'].shape == (1, 4, 64, 96)


def test_vit_levels_are_blocks_and_only_the_last_is_normalised():
    torch.manual_seed(0)
    vit = TimmBackbone(**{k: v for k, v in VIT.items() if k != 'type'}).eval()
    assert vit.out_indices == (0, 1, 2, 3) and vit.out_channels == [24] * 4 and vit.strides == [16] * 4
    seen = []
    handles = [b.register_forward_hook(lambda _, __, out: seen.append(out)) for b in vit.body.blocks]
    levels = vit(torch.randn(1, 3, 32, 48))
    for handle in handles:
        handle.remove()
    for i, (level, tokens) in enumerate(zip(levels, seen)):
        expected = vit.body.norm(tokens) if i == 3 else tokens
        torch.testing.assert_close(level.flatten(2).transpose(1, 2), expected)


def test_vit_names_the_multiple_it_needs_and_takes_other_sizes():
    vit = TimmBackbone(**{k: v for k, v in VIT.items() if k != 'type'}).eval()
    with pytest.raises(ValueError, match='multiple of 16.*33x48'):
        vit(torch.randn(1, 3, 33, 48))
    assert vit(torch.randn(1, 3, 64, 32))[0].shape == (1, 24, 4, 2)


def test_position_embedding_is_resampled_without_antialias():
    grid = torch.randn(1, 16, 3)
    same = resample_position_embedding(grid, (4, 4), (4, 4))
    assert same is grid
    expected = torch.nn.functional.interpolate(grid.reshape(1, 4, 4, 3).permute(0, 3, 1, 2), (2, 6), mode='bicubic')
    torch.testing.assert_close(resample_position_embedding(grid, (4, 4), (2, 6)), expected.flatten(2).transpose(1, 2))
    assert not torch.allclose(
        resample_position_embedding(grid, (4, 4), (2, 2)),
        resample_position_embedding(grid, (4, 4), (2, 2), antialias=True),
    )


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_local_weights_with_class_token_are_loaded(tmp_path, suffix):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(3)
    options = dict(embed_dim=24, depth=4, num_heads=2)
    full = timm.create_model('vit_tiny_patch16_224', img_size=64, num_classes=5, **options)
    path = tmp_path / f'vit{suffix}'
    state = {k: v.clone() for k, v in full.state_dict().items()}
    save_file(state, path) if suffix == '.safetensors' else torch.save(state, path)
    vit = TimmBackbone('vit_tiny_patch16_224', img_size=(32, 48), checkpoint=str(path), **options)
    vit.init_weights()
    torch.testing.assert_close(vit.body.blocks[2].attn.qkv.weight, full.blocks[2].attn.qkv.weight)
    torch.testing.assert_close(vit.body.pos_embed, resample_position_embedding(full.pos_embed[:, 1:], (4, 4), (2, 3)))
    with pytest.raises(ValueError, match='missing'):
        TimmBackbone(
            'vit_tiny_patch16_224', img_size=(32, 48), checkpoint=str(path), embed_dim=24, depth=5, num_heads=2
        ).init_weights()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="'PlainDecoder'"):
        model_of(decoder=dict(type='PlainDecodr'))
    with pytest.raises(ConfigError, match="unknown argument 'chanels'.*'channels'"):
        model_of(decoder=dict(type='PlainDecoder', chanels=3))
    with pytest.raises(ValueError, match="no model 'vit_tny_patch16_224'.*vit_tiny_patch16_224"):
        TimmBackbone('vit_tny_patch16_224')
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        TimmBackbone(**{**{k: v for k, v in VIT.items() if k != 'type'}, 'checkpoint': 'nowhere.pth'}).init_weights()
    with pytest.raises(ValueError, match='basic'):
        model_of(decoder=dict(type='PlainDecoder', channels=16, block='basik'))
    with pytest.raises(ValueError, match="'tensor'"):
        model_of()(torch.zeros(1, 3, 32, 48), mode='train')


def test_torchvision_weights_of_a_mobilenet_find_timms_names(tmp_path):
    torchvision = pytest.importorskip('torchvision')
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2(width_mult=1.0).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path / 'mobilenet_v2.pth'
    torch.save(theirs.state_dict(), path)
    ours = TimmBackbone('mobilenetv2_100', checkpoint=str(path)).eval()
    assert ours.load_pretrained(str(path)) == []
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found, expected = ours(image)[-1], theirs.features[:18](image)
    assert torch.equal(found, expected)
    state = theirs.state_dict()
    state['features.1.conv.1.weight'] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ValueError, match='of another shape'):
        ours.load_pretrained(str(path))


def test_bfloat16_prediction_of_a_vit_is_near_that_in_single_precision(monkeypatch):
    calls, original = [], attention.attend
    monkeypatch.setattr(attention, 'attend', lambda *a: calls.append(1) or original(*a))
    # as on a processor whose table has it, whatever this one is
    monkeypatch.setattr(attention, 'served', lambda *a: torch.is_autocast_enabled('cpu'))
    vit = TimmBackbone(**{k: v for k, v in VIT.items() if k != 'type'}).eval()
    image = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        expected = vit(image)[-1]
        assert not calls
        with torch.autocast('cpu', torch.bfloat16):
            found = vit(image)[-1].float()
    assert len(calls) == len(vit.body.blocks)
    assert ((found - expected).norm() / expected.norm()) < 0.03


def test_mixed_precision_trains_residual_branches():
    """A branch whose input autocast has made bfloat16 while its weights are float32."""
    from mmmtl.models.layers.basic_block import ResidualBranch

    torch.manual_seed(0)
    branch, x = ResidualBranch(12, 2), torch.rand(2, 12, 4, 4)
    expected = torch.autograd.grad(branch(x).sum(), list(branch.parameters()))
    with torch.autocast('cpu', torch.bfloat16):
        found = torch.autograd.grad(branch(x.bfloat16()).float().sum(), list(branch.parameters()))
    assert all(torch.isfinite(g).all() for g in found) and len(found) == len(expected)

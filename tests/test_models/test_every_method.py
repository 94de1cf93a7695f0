"""Every method, small: each balancing method and one label per image, one or two tasks, and hosts that do not fit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmmtl.config import load_config
from mmmtl.diffusion.noise import SampleNoise
from mmmtl.engine.balancing import BalancingOptimWrapper
from mmmtl.errors import UserError
from mmmtl.models.sizes import sizes_of, training_size
from mmmtl.registry import MODELS
from tests.test_configs import example

ROOT = Path(__file__).parents[2] / 'configs'
PATH = str(ROOT / 'methods' / 'vitt_diorama.py')
METHODS = tuple(load_config(PATH).networks)
SIZE = (64, 128)
BALANCERS = ('FixedWeights', 'Uncertainty', 'DWA', 'GLS', 'RLW', 'GradNorm')
PAIRED = ('xtc', 'jtr')  # compare tasks, and need two


@cache
def config_of(method: str, tasks: tuple[str, ...] | None = None) -> dict:
    options = {'method': method, 'size': SIZE, **({'only_tasks': list(tasks)} if tasks else {})}
    cfg = load_config(PATH, options)
    return cfg.model.to_dict()


def network(method: str, tasks: tuple[str, ...] | None = None, **backbone):
    torch.manual_seed(0)
    cfg = dict(config_of(method, tasks))
    small = dict(embed_dim=32, depth=4, num_heads=2)
    if 'prompt_layers' in cfg['backbone']:
        small['prompt_layers'] = 2
    cfg['backbone'] = {**cfg['backbone'], **small, **backbone}
    return MODELS.build(cfg)


def batch(model, seed=0) -> tuple[torch.Tensor, dict]:
    """Two images, of which every task has one label at most."""
    inputs, targets = example(model.tasks)
    return inputs, {n: (i[:1] * 0 + k % 2, y[:1]) for k, (n, (i, y)) in enumerate(targets.items())}


def test_the_methods_are_all_of_the_toolbox():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith('_')}
    assert folders - {'baselines', 'methods', 'stablemtl', 'studies'} <= set(METHODS)
    assert {'plain', 'xtc'} <= set(METHODS)


def test_without_the_final_tasks_of_a_recipe_all_are_final():
    cfg = config_of('mtinet', ('normals',))
    assert MODELS.build({**cfg, 'decoder': {**cfg['decoder'], 'final': []}}).decoder.final == ['normals']


@pytest.mark.parametrize('method', METHODS)
def test_one_label_per_image_with_every_balancing_method(method):
    model = network(method).train()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    for name in BALANCERS:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        wrapper = BalancingOptimWrapper(
            balancer=dict(
                type=name, **({'weights': dict.fromkeys(model.tasks, 2.0)} if name == 'FixedWeights' else {})
            ),
            optimizer=optimizer,
        )
        inputs, targets = batch(model)
        with wrapper.optim_context(model):
            losses = model(inputs, mode='loss', targets=targets)
        total, _ = model.parse_losses(losses)
        wrapper.update_params(total)
        assert torch.isfinite(total), name
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert sum(not torch.equal(p, start[n]) for n, p in model.named_parameters()) > len(start) // 2


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('tasks', [('depth',), ('semseg', 'boundary')])
def test_one_and_two_tasks(method, tasks):
    if method in PAIRED and len(tasks) == 1:
        with pytest.raises(UserError, match='at least two'):
            network(method, tasks)
        return
    model = network(method, tasks).train()
    inputs, targets = example(model.tasks)
    losses = model(inputs, mode='loss', targets=targets)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        raw = model.eval()(inputs[:1])
    assert set(raw) == set(tasks) and all(torch.isfinite(x).all() for x in raw.values())


@pytest.mark.parametrize('method', METHODS)
def test_the_order_of_the_labelled_rows_does_not_matter(method):
    model = network(method, ('semseg', 'depth')).train()
    inputs, targets = example(model.tasks)
    turned = {n: (index.flip(0), label.flip(0)) for n, (index, label) in targets.items()}
    found = []
    for rows in (targets, turned):
        torch.manual_seed(0)
        found.append(model(inputs, mode='loss', targets=rows, noise=SampleNoise(0, ['a', 'b'])))
    assert found[0].keys() == found[1].keys()
    for name, loss in found[0].items():
        torch.testing.assert_close(found[1][name], loss, rtol=1e-4, atol=1e-5, msg=name)


def test_prompts_score_the_channels_of_both_frames():
    """A pair's channel scores, frame behind frame, are read as those of its frames."""
    torch.manual_seed(0)
    options = dict(embed_dim=32, depth=4, num_heads=2)
    cfg = dict(config_of('taskprompter', ('semseg', 'depth')), frames=2)
    model = MODELS.build(dict(cfg, backbone={**cfg['backbone'], **options, 'windows': 2})).eval()
    pair, seen = torch.randn(1, 2, 3, *SIZE), []
    model.decoder.channel[0]['depth'].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(pair)
        for frame, weighed in enumerate(seen[0].chunk(2, 1)):
            feats = model.backbone(pair[:, frame])
            x, scores = feats[0], feats[2 * model.decoder.levels]
            share = scores.unflatten(1, (-1, 2))[:, :, 1]  # (B, D, windows, windows) of depth, the second task
            share = F.interpolate(share, x.shape[-2:], mode='nearest')
            torch.testing.assert_close(weighed, share * x + x, rtol=1e-4, atol=1e-4)


def test_raw_scores_are_in_single_precision():
    model = network('taskprompter', ('depth',)).eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        feats = model.backbone(torch.randn(1, 3, *SIZE))
        assert {x.dtype for x in feats[model.decoder.levels :]} == {torch.float32}
        assert torch.isfinite(model(torch.randn(1, 3, *SIZE))['depth']).all()


def test_prompted_blocks_are_those_of_the_vit():
    options = dict(img_size=(32, 32), patch_size=8, embed_dim=16, depth=4, num_heads=2, init_values=0.1)
    vit = dict(type='PromptedViT', model_name='vit_tiny_patch16_224', tasks=['depth'], **options)
    torch.manual_seed(0)
    backbone, image = MODELS.build(vit).eval(), torch.randn(1, 3, 32, 32)
    for block in backbone.body.blocks:  # LayerScale of 0: blocks that change nothing
        torch.nn.init.zeros_(block.ls1.gamma), torch.nn.init.zeros_(block.ls2.gamma)
    with torch.no_grad():
        tokens, grid = backbone.embed(image)
        torch.testing.assert_close(backbone(image)[0], tokens.transpose(1, 2).unflatten(2, grid))
    with pytest.raises(UserError, match='ordinary blocks'):
        MODELS.build(dict(vit, model_name='vit_base_patch16_rpn_224', init_values=None))


@pytest.mark.parametrize('method', METHODS)
def test_a_size_that_does_not_fit_is_told(method):
    """Sizes a network declares are taken, others are refused with the size it needs, or taken as they are."""
    model = network(method).eval()
    sizes = sizes_of(model)
    with torch.no_grad():
        if sizes.fixed is not None:
            assert sizes.fixed == SIZE
            wrong, told = (SIZE[0], SIZE[1] + sizes.multiple), f'({SIZE[0]}x{SIZE[1]}|{SIZE[0] // 8}x{SIZE[1] // 8})'
        else:
            good = (sizes.multiple * 2, sizes.multiple * 4)
            assert next(iter(model(torch.randn(1, 3, *good)).values())).shape[-2:] == good
            wrong, told = (good[0], good[1] + sizes.multiple // 2), rf'\b{sizes.multiple}\b'
            if method in PAIRED:  # the decoder takes any multiple of the patches, the losses do not
                model.train()
        with pytest.raises((UserError, ValueError), match=told):
            if method in PAIRED:
                model(torch.randn(2, 3, *wrong), mode='loss', targets={})
            model(torch.randn(1, 3, *wrong))


HRNET_LEVELS = dict(type='TimmBackbone', model_name='resnet18', channels=(8, 8, 8, 16))


@pytest.mark.parametrize(
    ('method', 'changes', 'message'),
    [
        ('taskprompter', dict(backbone=HRNET_LEVELS), 'PromptedViT'),
        ('tsp', dict(backbone=HRNET_LEVELS), 'TaskPromptViT'),
        ('mlore', dict(backbone=HRNET_LEVELS, neck=None), 'one width and stride.*LevelProjection'),
        ('taskexpert', dict(backbone=HRNET_LEVELS), r'one stride.*\[4, 8, 16, 32\].*LevelProjection'),
        ('mtinet', dict(neck=None), r'four levels, each of twice the stride.*\[8, 8, 8, 8\]'),
        ('mtinet', dict(neck=dict(type='LevelProjection', channels=8, stride=(4, 8, 16, 32))), 'at least 16 channels'),
        ('mtinet', dict(neck=dict(type='LevelProjection', channels=16, stride=(4, 8))), '2 strides of 4 levels'),
        ('invpt', dict(neck=dict(type='ConcatFusion', channels=16)), 'four backbone levels, got 1'),
        (
            'invpt',
            dict(neck=dict(type='LevelProjection', channels=16, stride=(64, 4, 8, 16))),
            'stage of stride 2; its stride is 64, not 2 or 4',
        ),
        ('demt', dict(decoder=dict(type='DeMTDecoder', width=30)), 'multiple of num_heads=4'),
        ('mqtransformer', dict(decoder=dict(type='MQTransformerDecoder', width=30)), 'multiple of num_heads=4'),
        ('atrc', dict(decoder=dict(type='ATRCDecoder', genotypes='34')), 'genotypes'),
    ],
)
def test_a_host_that_does_not_fit(method, changes, message):
    with pytest.raises(UserError, match=message):
        MODELS.build({**config_of(method), **changes})


def test_the_size_of_the_training_is_found_within_wrappers():
    cfg = load_config(str(ROOT / 'taskdiffusion' / 'vitl_pascal.py'), {'crop_size': (256, 320)})
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    cfg.test_dataloader.dataset.pipeline[0].size = (512, 512)
    assert training_size(cfg) == (256, 320)


def test_conditions_of_one_size_tell_it():
    conditions = dict(type='MLoREConditions', grid=(8, 16), ranks=[2, 3], topk=1, own_rank=2)
    cfg = dict(config_of('taskdiffusion'))
    cfg['decoder'] = dict(cfg['decoder'], conditions=conditions)
    assert sizes_of(MODELS.build(cfg)).fixed == SIZE


@pytest.mark.parametrize(
    ('method', 'part', 'options', 'told'),
    [
        ('tsp', 'backbone', dict(tasks=['depth', 'semseg']), r"tasks \['depth', 'semseg'\] must be those of the model"),
        ('taskprompter', 'backbone', dict(tasks=['depth', 'semseg']), 'in the same order'),
        ('atrc', 'decoder', dict(regions=dict(dept={})), "regions names no task 'dept'.*depth"),
        ('plain', 'backbone', dict(model_name='swin_tiny_patch4_window7_224', class_token=True), 'is no plain ViT'),
    ],
)
def test_what_would_be_ignored_or_mixed_up_is_refused(method, part, options, told):
    cfg = dict(config_of(method, ('semseg', 'depth')))
    with pytest.raises(UserError, match=told):
        MODELS.build(dict(cfg, **{part: {**cfg[part], **options}}))

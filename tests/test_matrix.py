"""Any method on any data set and label setting: every base of ``configs/_base_/datasets`` with every method, small."""

from __future__ import annotations

import copy
import itertools
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmmtl.apis import train
from mmmtl.config import load_config
from mmmtl.registry import MODELS, register_all_modules
from mmmtl.tasks import build_tasks
from tests.miniatures import write_mtan, write_nyudv2, write_pascal_context
from tests.test_models.latent_toy import TASK_ATTENTION, UNET

BASES = sorted(p.stem for p in (Path(__file__).parents[1] / 'configs/_base_/datasets').glob('*.py'))
SIZE = (64, 96)
SETTINGS = ('full', 'onelabel', 'random')

VIT = dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=SIZE, embed_dim=24, depth=4, num_heads=2)
RESNET = dict(type='TimmBackbone', model_name='resnet18', channels=(8, 8, 16, 16))
LEVELS, FUSION = dict(type='LevelProjection', channels=8), dict(type='ConcatFusion', channels=8, stride=4)
DIFFUSION = dict(type='TaskDiffusionDecoder', steps=2, aux_weight=0.25)
PLAIN = dict(type='PlainDecoder', channels=8, num_blocks=1)
LATENT = dict(
    type='LatentMultiTaskModel',
    autoencoder=dict(type='DCTAutoencoder', block=8, kept=3),
    tokens=dict(type='LearnedTokens', length=2),
    unet=UNET,
)


def network(backbone, neck, decoder):
    return dict(type='MultiTaskModel', backbone=backbone, neck=neck, decoder=decoder)


MLORE = dict(type='MLoREConditions', ranks=[2, 4], topk=1, grid=(4, 6))
METHODS = {
    'taskdiffusion': network(VIT, LEVELS, DIFFUSION),
    'taskdiffusion_mlore': network(VIT, LEVELS, dict(DIFFUSION, aux='level_mask', conditions=MLORE)),
    'taskdiffusion_resnet': network(RESNET, LEVELS, DIFFUSION),
    'diffusionmtl_feature': network(
        RESNET, FUSION, dict(type='DiffusionMTLDecoder', mode='feature', denoiser=dict(type='CrossDenoiser', hidden=8))
    ),
    'diffusionmtl_prediction': network(
        RESNET,
        FUSION,
        dict(type='DiffusionMTLDecoder', mode='prediction', denoiser=dict(type='CrossDenoiser', hidden=8)),
    ),
    'diffusionmtl_vit': network(
        VIT,
        dict(FUSION, stride=8),
        dict(type='DiffusionMTLDecoder', mode='feature', denoiser=dict(type='CrossDenoiser', hidden=8)),
    ),
    'plain': network(RESNET, FUSION, PLAIN),
    'xtc': network(RESNET, None, dict(type='XTC', filters=(4, 4, 8, 8, 8), neck=FUSION, decoder=PLAIN)),
    'stablemtl_single': LATENT,
    'stablemtl_multi': dict(LATENT, task_attention=TASK_ATTENTION),
}


# ---- data ------------------------------------------------------------------------------------------------------------
def write_camvid(root):
    for split, count in (('train', 4), ('val', 2), ('test', 1)):
        for name in (split, f'{split}annot'):
            (root / name).mkdir(parents=True)
        for k in range(count):
            rng = np.random.default_rng(k)
            classes = cv2.resize(rng.integers(0, 11, (4, 6), np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(root / split / f'{split}{k}.png'), rng.integers(0, 256, (*SIZE, 3), np.uint8))
            cv2.imwrite(str(root / f'{split}annot' / f'{split}{k}.png'), classes)


def write_stablemtl(root):
    pytest.importorskip('h5py')
    from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d
    from mmmtl.datasets.preparation.hypersim import prepare_hypersim
    from mmmtl.datasets.preparation.normals_from_depth import prepare_vkitti2_normals
    from tests.miniatures.flyingthings3d import write_flyingthings3d
    from tests.miniatures.hypersim import write_hypersim
    from tests.miniatures.streets import write_cityscapes, write_kitti2015, write_vkitti2

    write_hypersim(root / 'raw')
    prepare_hypersim(root / 'raw', root / 'hypersim', progress=False)
    write_vkitti2(root / 'vkitti_v2')
    prepare_vkitti2_normals(root / 'vkitti_v2', progress=False)
    _, camera = write_flyingthings3d(root / 'things')
    prepare_flyingthings3d(root / 'things', root / 'FlyingThings3D', progress=False, camera=camera)
    write_cityscapes(root / 'cityscapes')
    write_kitti2015(root / 'kitti2015')
    (root / 'semseg.txt').write_text('original/Scene02/clone/frames/classSegmentation/Camera_0/classgt_00000.png')
    return camera


WRITERS = dict(
    pascal=write_pascal_context,
    nyud=write_nyudv2,
    nyud_mtan=lambda root: write_mtan(root, 'nyud'),
    cityscapes=lambda root: write_mtan(root, 'cityscapes'),
    camvid=write_camvid,
    stablemtl=write_stablemtl,
    diorama=None,
    diorama_video=None,
)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A function giving the config of a base under a label setting, its data in place."""
    roots = {}

    def make(base, setting):
        if base not in roots:
            root = tmp_path_factory.mktemp(base)
            roots[base] = root, WRITERS[base] and WRITERS[base](root)
        root, written = roots[base]
        path = root / f'{base}_config.py'
        datasets = Path(__file__).parents[1] / 'configs/_base_'
        path.write_text(f"_base_ = ['{datasets}/default_runtime.py', '{datasets}/datasets/{base}.py']\n")
        options = dict(label_setting=setting, crop_size=SIZE, batch_size=2)
        if WRITERS[base]:
            options['data_root'] = str(root)
        if base in ('diorama_video', 'stablemtl'):
            options['cycle_tasks'] = setting == 'full'
        cfg = load_config(str(path), options)
        if base == 'stablemtl':
            fit_to_miniatures(cfg, root, written)
        return cfg

    return cache(make)


def fit_to_miniatures(cfg, root, camera):
    for part in cfg.train_dataloader.dataset.datasets:
        part.split_file = str(root / 'semseg.txt') if 'semseg' in part.tasks else None
        part.allow_unlabelled = True
        if part.type == 'FlyingThings3D':
            part.update(crop=(36, 60), camera=camera)
    kept = [part for part in cfg.val_dataloader.dataset.datasets if part.type in ('Cityscapes', 'KITTI2015')]
    for part in kept:
        if part.type == 'KITTI2015':
            part.crop = (32, 80)
        for step in part.pipeline:
            if step.type == 'ResampleNearest':
                step['size'] = SIZE
    cfg.val_dataloader.dataset.datasets = kept


@pytest.fixture(scope='module')
def batches(config):
    """A function giving two training batches and a validation batch of a base under a label setting."""

    def make(base, setting):
        cfg = config(base, setting)
        loaders = []
        for name in ('train_dataloader', 'val_dataloader'):
            loader = cfg[name].to_dict()
            loader.update(num_workers=0, persistent_workers=False)
            if 'train' not in name:
                loader['batch_size'] = 1
            loaders.append(iter(Runner.build_dataloader(loader, seed=0)))
        train, val = loaders
        return [next(train), next(train)], next(val)

    return cache(make)


# ---- the cells -------------------------------------------------------------------------------------------------------
def test_every_base_is_in_the_matrix():
    assert set(BASES) == set(WRITERS) and len(BASES) >= 8


def check_inputs(raw, ready, model):
    """What the network sees is the pipeline's image by the model's statistics, and 0 in the padding."""
    std, mean = (torch.tensor(v).view(3, 1, 1) for v in (model.image_std, model.image_mean))
    for before, after, sample in zip(raw, ready['inputs'], ready['data_samples']):
        left, right, top, bottom = sample.metainfo['padding']
        height, width = after.shape[-2:]
        first = after[0] if after.ndim == 4 else after
        inner = first[:, top : height - bottom, left : width - right]
        before = before[0] if before.ndim == 4 else before
        down, across = before.shape[-2] - inner.shape[-2], before.shape[-1] - inner.shape[-1]
        if down or across:
            before = before[:, top : top + inner.shape[-2], left : left + inner.shape[-1]]
        torch.testing.assert_close((inner * std + mean) * 255, before.float(), atol=0.01, rtol=0)
        assert inner.std() > 0.05
        frame = first.clone()
        frame[:, top : height - bottom, left : width - right] = 0
        assert (frame == 0).all()


def check_losses(losses, targets, parameters, model):
    """Every labelled task has a finite loss, and where a pixel is known a gradient."""
    assert targets
    for name, (_, label) in targets.items():
        loss = losses[f'loss_{name}']
        assert torch.isfinite(loss), name
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        total = sum(float(g.abs().sum()) for g in gradients if g is not None)
        assert np.isfinite(total), name
        if model.tasks[name].valid(label).float().mean() > 0.5:
            assert total > 0, name


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('base', BASES)
def test_trains_and_predicts(base, method, config, batches):
    if method.startswith('stablemtl'):
        pytest.importorskip('diffusers')
    register_all_modules()
    torch.manual_seed(0)
    options = dict(tasks=config(base, 'full').tasks.to_dict())
    if METHODS[method]['type'] == 'MultiTaskModel' and base in ('diorama_video', 'stablemtl'):
        options['second_frame'] = 'duplicate'
    model = MODELS.build({**METHODS[method], **options})
    if hasattr(model, 'autoencoder'):
        model.init_weights()
    tasks = build_tasks(options['tasks'])
    trained = [p for p in model.parameters() if p.requires_grad]
    behind = [p for p in getattr(model, 'decoder', model).parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    for setting in SETTINGS:
        train, val = batches(base, setting)
        model.train()
        for k, batch in enumerate(train):
            ready = model.data_preprocessor(batch, training=True)
            check_inputs(batch['inputs'], ready, model)
            losses = model(**ready, mode='loss')
            check_losses(losses, ready['targets'], trained if setting == 'full' and k == 0 else behind, model)
            optimizer.zero_grad()
            total = sum(value for key, value in losses.items() if 'loss' in key)
            total.backward()
            optimizer.step()
            assert torch.isfinite(total)
    model.eval()
    with torch.no_grad():
        ready = model.data_preprocessor(val)
        with pytest.MonkeyPatch.context() as patch:  # a depth below 0 is cut off at 0 everywhere, which is no constant
            for task in model.tasks.values():
                patch.setattr(task, 'bound', lambda raw: raw)
            raw = model(ready['inputs'], ready['data_samples'])
        (sample,) = model.val_step(val)
    assert raw.keys() == tasks.keys()
    for name, maps in raw.items():
        assert maps.isfinite().all() and maps.std((-2, -1)).max() > 1e-6, f'{name} is constant'
        prediction = sample.pred.get(name)
        assert prediction.shape[-2:] == sample.ori_shape and prediction.float().isfinite().all()


@pytest.mark.parametrize(('base', 'method'), list(zip(BASES, itertools.cycle(METHODS))))
def test_trains_and_validates_by_the_runner(base, method, config, tmp_path):
    cfg = copy.deepcopy(config(base, 'onelabel'))
    model = dict(METHODS[method], tasks=cfg.tasks.to_dict())
    if base in ('diorama_video', 'stablemtl') and model['type'] == 'MultiTaskModel':
        model['second_frame'] = 'duplicate'
    for name in ('train_dataloader', 'val_dataloader'):
        cfg[name].update(num_workers=0, persistent_workers=False)
    if cfg.val_dataloader.dataset.type == 'Diorama':
        cfg.val_dataloader.dataset.length = 2
    for step in cfg.val_dataloader.dataset.get('pipeline', ()):
        if step.type == 'CentredPad':
            step['size'] = (96, 96)  # one of Pascal's images stands upright
    cfg.default_hooks.checkpoint.interval = 2
    for name in ('label_values', 'panels'):
        cfg.default_hooks.pop(name)
    cfg.merge_from_dict(
        dict(
            model=model,
            train_cfg=dict(type='ResumableTrainLoop', max_iters=2, val_interval=2),
            val_cfg=dict(type='ValLoop'),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
        )
    )
    runner = train(cfg, str(tmp_path))
    assert runner.iter == 2 and (tmp_path / 'iter_2.pth').is_file()
    metrics = runner.message_hub.log_scalars
    measured = {part for key in metrics if key.startswith('val/') for part in key.split('/')} & set(cfg.tasks)
    assert measured and (base == 'stablemtl' or measured == set(cfg.tasks))
    assert all(
        np.isfinite(metrics[f'train/loss_{name}'].current()) for name in cfg.tasks if f'train/loss_{name}' in metrics
    )

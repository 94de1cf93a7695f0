"""Replay of recorded joint-task regularisation runs (JTR on SegNet): predictions, losses, gradients, colours and crops.

Losses and gradients are recorded, and replayed, in double precision: samples of classes and poolings flip by rounding.
"""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.datasets.transforms.image_ops import OPERATIONS, RandomImageOps, apply_operation
from mmmtl.datasets.transforms.mtan import RandomScaleCrop
from mmmtl.models import MultiTaskModel
from mmmtl.models.jtr.converter import convert
from mmmtl.tasks import build_tasks

from .common import LOSS, OUTPUT, Result, ratio, relative
from .compared import GRADIENT, SMALL
from .xtc import label_of

TASKS = ('semseg', 'depth', 'normals')
FIELDS = ('seg', 'depth', 'normal')
STATISTICS = dict(host=1e-5, network=1e-4)
"""The recorded statistics of g are of the run in single precision, in which its samples flip."""


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded JTR run."""
    return data.get('method') == 'jtr'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    results = replay_augmentation(data['data']) if 'data' in data else []
    for name, case in data.items():
        if isinstance(case, dict) and 'state_dict' in case:
            results += [(f'{name}: {q}', d, t) for q, d, t in _replay(case, data['filters'])]
    return results


# ---- augmentation ----------------------------------------------------------------------------------------------------
def replay_augmentation(data: dict) -> list[Result]:
    """Single operations, a sequence of two, and crops with their labels."""
    results = [('order of operations', float(list(OPERATIONS) != list(data['order'])), 0.0)]
    for key, wanted in data['ops'].items():
        name, strength, sign = key.split('_')
        found = apply_operation(data['image'], name, int(strength), int(sign))
        results.append((f'operation {key}', relative(found, wanted), 1e-6))
    torch.manual_seed(0)
    change = RandomImageOps(2)
    for i, wanted in enumerate(data['sequence_after_manual_seed_0']):
        results.append((f'sequence {i}', relative(change.change(data['image']), wanted), 1e-6))
    return results + [r for crop in data['crops'] for r in _replay_crop(data, crop)]


def _replay_crop(data: dict, crop: dict) -> list[Result]:
    tasks = build_tasks(
        dict(
            semseg=dict(type='SemanticSegmentation', classes=40),
            depth=dict(type='Depth'),
            normals=dict(type='SurfaceNormals'),
        )
    )
    label = data['label'].long()[None]
    given = dict(semseg=label, depth=data['depth'], normals=data['normal'])
    gt = {n: label_of(n, y if n == 'semseg' else y[None])[0].numpy() for n, y in given.items()}
    results: dict[str, Any] = dict(
        img=data['image'].permute(1, 2, 0).numpy(),
        gt=gt,
        leaked={},
        tasks=tasks,
        rng=random.Random(crop['python_seed']),
        scale_factor=(1.0, 1.0),
        img_shape=tuple(data['image'].shape[-2:]),
        padding=(0, 0, 0, 0),
    )
    RandomScaleCrop(smooth=('normals',))(results)
    seed = f'crop {crop["python_seed"]}'
    found = {n: torch.from_numpy(y) for n, y in results['gt'].items()}
    wanted = label_of('semseg', crop['label'].long()[None])[0]
    # published normals keep the length that interpolation leaves, here they are vectors of length 1 again
    known = ~torch.isnan(found['normals']).any(0)
    return [
        (f'{seed}, image', relative(torch.from_numpy(results['img']).permute(2, 0, 1), crop['image']), 1e-6),
        (f'{seed}, classes', float((found['semseg'].view(wanted.shape) != wanted).sum()), 0.0),
        (f'{seed}, depth', relative(torch.nan_to_num(found['depth']), crop['depth']), 1e-6),
        (f'{seed}, normals', relative(found['normals'][:, known], F.normalize(crop['normal'], dim=0)[:, known]), 1e-5),
    ]


# ---- training --------------------------------------------------------------------------------------------------------
def build(case: dict, filters: list[int]) -> MultiTaskModel:
    """Host and autoencoder of a case, with its weights."""
    classes, *others = case['cfg']['channel_dims']
    tasks = dict(
        semseg=dict(type='SemanticSegmentation', classes=classes),
        depth=dict(type='Depth'),
        normals=dict(type='SurfaceNormals', loss=dict(type='CosineDistance')),
    )
    tasks = {n: tasks[n] for n in TASKS[: 1 + len(others)]}
    cfg = case['cfg']
    decoder = dict(
        type='JTR',
        decoder=dict(type='ConvHeads', loss_reduction='sample'),
        filters=filters,
        weight=cfg['dist_mtl_weight'],
        reconstruction_weight=cfg['recon_weight'],
        statistics=dict(depth=(cfg['depth_mean'], cfg['depth_std'])),
    )
    model = MultiTaskModel(tasks, dict(type='SegNet', filters=filters), decoder)
    names = {n: n for n in tasks}
    host, _, unknown = convert(case['state_dict'], names)
    network, _, more = convert(case['state_dict_jtr'], names)
    if unknown or more:
        raise ValueError(f'keys without a place: {[*unknown, *more][:5]}')
    model.load_state_dict({**host, **network})
    return model


def _replay(case: dict, filters: list[int]) -> list[Result]:
    results: list[Result] = []
    for name, record in case.items():
        if isinstance(record, dict) and 'views' in record:
            results += [(f'{name}: {q}', d, t) for q, d, t in _replay_step(build(case, filters), record)]
    return results + _replay_predictions(build(case, filters).eval(), case)


@torch.no_grad()
def _replay_predictions(model: MultiTaskModel, case: dict) -> list[Result]:
    """Predictions, and g of them; of which view they are is not told, the nearest one counts."""
    record, best = case['eval'], [('no view', float('inf'), OUTPUT)]
    for step in case.values():
        if not (isinstance(step, dict) and 'views' in step):
            continue
        for view in step['views']:
            raw = model(view['image'].float() / 255)
            values = {n: model.tasks[n].predict(x) if n == 'normals' else x for n, x in raw.items()}
            found = [(f'prediction {n}', relative(values[n], y), OUTPUT) for n, y in zip(values, record['pred'])]
            best = min(best, found, key=lambda results: max(d for _, d, _ in results))
    joint, again = model.decoder.network(torch.cat(record['pred'], 1))
    return best + [
        ('joint space of the predictions', relative(joint, record['jtr_feat_of_pred']), OUTPUT),
        ('reconstruction of the predictions', relative(again, record['jtr_recon_of_pred']), OUTPUT),
    ]


def noise_of(given: Tensor, draws: list[Tensor]) -> dict[str, Tensor]:
    """Recorded exponential draws, in order of images and their uses, as the uniform draws they are made of."""
    noise, left = {}, list(draws)
    for image, row in enumerate(given.bool().tolist()):
        for role in ('guess1', *(() if row[0] else ('truth1', 'truth2', 'label2')), 'target2'):
            uniform = -torch.expm1(-left.pop(0).double())
            noise.setdefault(f'gumbel.semseg.{role}', torch.full((len(given), *uniform.shape[1:]), 0.5).double())
            noise[f'gumbel.semseg.{role}'][image] = uniform[0]
    if left:
        raise ValueError(f'{len(left)} recorded draws were not placed')
    return noise


def targets_of(record: dict) -> dict[str, tuple[Tensor, Tensor]]:
    """Labels of the three views of the labelled images."""
    given, targets = record['w'], {}
    count = len(given)
    for i, (field, name) in enumerate(zip(FIELDS, TASKS)):
        rows = given[:, i].nonzero().flatten() if i < given.shape[1] else []
        if len(rows):
            labels = [
                label_of(name, view[field][rows].double() if i else view[field][rows].long())
                for view in record['views']
            ]
            targets[name] = (torch.cat([rows + v * count for v in range(3)]), torch.cat(labels))
    return targets


def _replay_step(model: MultiTaskModel, record: dict) -> list[Result]:
    model.double().train()
    if 'normals' in model.tasks:
        _keep_vectors(model.decoder.channels['normals'], record)
    count, given, train = len(record['w']), record['w'], record['train']
    images = torch.cat([v['image'] for v in record['views']]).double() / 255
    noise = noise_of(given, record['exponential'])
    losses = model(images, mode='loss', targets=targets_of(record), noise=noise)
    total = sum(losses.values())
    total.backward()
    decoder = model.decoder
    wanted = {
        'loss_distance': train['dist'].mean() * decoder.weight,
        'loss_reconstruction': train['recon'].mean() * decoder.reconstruction_weight,
        **{f'loss_{n}': (train['sl'][:, i] * given[:, i]).sum() / count for i, n in enumerate(model.tasks)},
    }
    results = [(key, ratio(losses[key].detach(), value), LOSS) for key, value in wanted.items() if float(value)]
    results.append(('total', ratio(total.detach(), train['total']), LOSS))
    names = {n: n for n in model.tasks}
    for part, suffix in (('host', ''), ('network', '_jtr')):
        grads, _, _ = convert(_as_published(record[f'grads{suffix}'], suffix), names)
        results += _compare_gradients(model, grads, part, float(record[f'grad_norm{suffix}']))
        statistics, _, _ = convert(_as_published(record[f'bn_after{suffix}'], suffix), names)
        state = model.state_dict()
        worst = max(relative(state[k], v) for k, v in statistics.items() if v is not None)
        results.append((f'running statistics of the {part}', worst, STATISTICS[part]))
    return results


def _keep_vectors(channels: Any, record: dict) -> None:
    """Stack labels with the vectors that count as unknown, because their components add up to 0, as recorded.

    Here an unknown pixel holds no vector.
    """
    rows = record['w'][:, TASKS.index('normals')].nonzero().flatten()
    views = [view['normal'].double() for view in record['views']]

    def target_of_label(label: Tensor) -> Tensor:
        for vectors in views:
            if torch.equal(label[rows].nan_to_num(9), label_of('normals', vectors)[rows].nan_to_num(9)):
                kept = torch.zeros_like(label)
                kept[rows] = vectors[rows]
                return kept
        raise ValueError('labels that were not recorded')

    channels.target_of_label = target_of_label


def _as_published(values: dict, suffix: str) -> dict:
    """Marks the values of the autoencoder by the key that tells its files from the host's."""
    return {**values, 'pred_layer.1.weight': values.get('pred_layer.1.weight')} if suffix else values


def _compare_gradients(model: MultiTaskModel, wanted: dict, part: str, norm: float) -> list[Result]:
    mine = ('decoder.network.',) if part == 'network' else ('backbone.', 'decoder.decoder.')
    found = {k: p.grad for k, p in model.named_parameters() if k.startswith(mine) and p.grad is not None}
    if set(wanted) - {k for k, v in wanted.items() if v is None} != set(found):
        raise ValueError(f'other parameters have gradients: {sorted(set(wanted) ^ set(found))[:5]}')
    worst, at = 0.0, ''
    for key, gradient in found.items():
        scale = wanted[key].double().norm().clamp_min(SMALL * norm)
        worst, at = max((worst, at), (float((gradient - wanted[key].double()).norm() / scale), key))
    total = torch.stack([g.norm() for g in found.values()]).norm()
    return [
        (f'gradients of the {part}, worst of {len(found)} ({at})', worst, GRADIENT),
        (f'gradient norm of the {part}', ratio(total, norm), LOSS),
    ]

"""Replay of recorded DiffusionMTL runs: prediction, losses, gradients and batch statistics from the same draws."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor

from mmmtl.models import MultiTaskModel
from mmmtl.models.diffusionmtl.converter import convert

from .common import (
    GRADIENT,
    LOSS,
    OUTPUT,
    ROUNDING,
    Quantity,
    Result,
    at_recorded_maps,
    classes_of,
    judged,
    label_of,
    nudged,
    published_form,
    published_task,
    quantity,
    single_norm,
    watched,
)

LOSS_WEIGHTS = {'semseg': 1.0, 'human_parts': 2.0, 'sal': 5.0, 'edge': 50.0, 'normals': 10.0, 'depth': 1.0}


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded DiffusionMTL model run."""
    return {'keys', 'noise', 'train', 'meta'} <= set(data) and data['meta'].get('variant') in ('feature', 'prediction')


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor that a recorded run used under ``key``: seeded by the key's checksum, scaled by what the key is."""
    if key.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return draw * (1 / math.sqrt(math.prod(shape[1:])))
    if key.endswith('running_mean'):
        return 0.1 * draw
    if key.endswith('running_var'):
        return 1 + 0.1 * draw.abs()
    return 1 + 0.1 * draw if key.endswith('weight') else 0.05 * draw


def task_of(published: str, channels: int) -> Any:
    """The task that published code calls ``published``, with its loss weight there."""
    options = {'classes': [str(i) for i in range(channels)]} if published in ('semseg', 'human_parts') else {}
    return published_task(published, loss_weight=LOSS_WEIGHTS[published], **options)


def state_of(data: dict) -> dict[str, Tensor]:
    """Published state dict: stored, or rebuilt from its keys and held against its checksums."""
    if 'state_dict' in data:
        return data['state_dict']
    state = {k: fill(k, tuple(shape)) for k, shape in data['keys'].items()}
    for key, (total, size) in data.get('sd_checksum', {}).items():
        if not _is_schedule(key) and abs(state[key].double().sum().item() - total) > ROUNDING * max(size, 1):
            raise ValueError(f"'{key}' was not rebuilt as recorded")
    return state


def _is_schedule(key: str) -> bool:
    return key.startswith('diffusion_model.') and key.count('.') == 1


def build(data: dict) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The model of a recorded run with its weights, and ``{published task name: task}``."""
    meta, state = data['meta'], state_of(data)
    tasks = {old: task_of(old, meta['num_output'][old]) for old in meta['tasks']}
    hidden = next(s[0] for k, s in data['keys'].items() if '.task_heads.' in k and k.endswith('.1.weight'))
    model = MultiTaskModel(
        {t.name: t for t in tasks.values()},
        dict(type='TimmBackbone', model_name='resnet18'),
        dict(
            type='DiffusionMTLDecoder',
            mode=meta['variant'],
            denoiser=dict(type='CrossDenoiser', hidden=hidden),
            num_steps=len(data['noise']) - 1,
        ),
        neck=dict(type='ConcatFusion', channels=meta['width']),
    )
    renamed, _, unknown = convert(state, {old: t.name for old, t in tasks.items()})
    if unknown:
        raise ValueError(f'keys without a place: {unknown[:5]}')
    model.load_state_dict(renamed, strict=False)
    own = set(model.state_dict())
    if own != set(renamed):
        raise ValueError(
            f'the recorded run lacks {sorted(own - set(renamed))[:5]}, has {sorted(set(renamed) - own)[:5]}'
        )
    return model, tasks


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the run recorded."""
    model, tasks = build(data)
    start = model.state_dict()

    def run(dtype: torch.dtype, seed: int | None) -> dict[str, Quantity]:
        model.to(dtype)
        model.load_state_dict(nudged(start, seed))
        noise = {
            f'{kind}.{tasks[old].name}': draw
            for kind, draws in data['noise'].items()
            for old, draw in draws.items()
            if kind != 'p0'  # drawn by the published program, and used for nothing
        }
        batch = {k: v.to(dtype) if isinstance(v, Tensor) and k != 'task_w' else v for k, v in data['batch'].items()}
        return {**_prediction(model, tasks, data, batch, noise), **_training(model, tasks, data, batch, noise)}

    return judged(run)


def _prediction(model: MultiTaskModel, tasks: dict, data: dict, batch: dict, noise: dict) -> dict[str, Quantity]:
    thin, found = data['meta'].get('stride', 1), {}  # small recordings keep every n-th pixel of the maps
    model.eval()
    with torch.no_grad():
        raw = model(batch['image'], noise=noise)
    for old, expected in data['eval']['preds'].items():
        ours = raw[tasks[old].name]
        found[f'eval {old}'] = quantity(ours[..., ::thin, ::thin], expected, OUTPUT)
        if 'post' in data['eval']:
            post, wanted = published_form(old, tasks[old].predict(ours)), data['eval']['post'][old]
            if wanted.is_floating_point():
                found[f'eval {old}, post-processed'] = quantity(post, wanted, 2 * OUTPUT)
            else:
                found[f'eval {old}, post-processed'] = classes_of(post, wanted, expected, OUTPUT)
    return found


def _training(model: MultiTaskModel, tasks: dict, data: dict, batch: dict, noise: dict) -> dict[str, Quantity]:
    record, given, image = data['train'], batch['task_w'].bool(), batch['image']
    thin = data['meta'].get('stride', 1)
    index = {old: given[:, i].nonzero().flatten() for i, old in enumerate(tasks)}
    targets = {
        tasks[old].name: (rows, label_of(tasks[old], batch[old][rows])) for old, rows in index.items() if len(rows)
    }
    finals = {o: torch.cat([record['preds'][b][o] for b in rows.tolist()]) for o, rows in index.items() if len(rows)}
    recorded = {tasks[o].name: [x, record['inter_preds'][o][index[o]]] for o, x in finals.items()} if thin == 1 else {}
    model.train()
    model.zero_grad(set_to_none=True)
    with watched(model.decoder, 'forward_train') as maps, at_recorded_maps(model.decoder.tasks, recorded):
        losses = model(image, mode='loss', targets=targets, noise=noise)
    total = sum(losses.values())
    total.backward()
    initial, final = maps[0][1]

    def full(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, image.shape[-2:], mode='bilinear', align_corners=False).detach()

    found = {}
    for old, task in tasks.items():
        first = full(initial[task.name])
        found[f'train initial {old}'] = quantity(first[..., ::thin, ::thin], record['inter_preds'][old], OUTPUT)
        if not len(index[old]):
            continue
        last, label = full(final[task.name]), targets[task.name][1]
        found[f'train final {old}'] = quantity(last[..., ::thin, ::thin], finals[old], OUTPUT)
        for prefix, logits in (('', last), ('inter_', first[index[old]])):
            value = task.loss(logits, label, per_sample=True).sum() / len(image)
            found[f'loss {prefix}{old}'] = quantity(value, record['losses'][prefix + old], LOSS)
    found['loss total'] = quantity(total, record['losses']['total'], LOSS)
    return {**found, **_gradients(model, tasks, record)}


def _gradients(model: MultiTaskModel, tasks: dict, record: dict) -> dict[str, Quantity]:
    names = {old: t.name for old, t in tasks.items()}

    def ours(key: str) -> str:
        return next(iter(convert({key: torch.zeros(())}, names)[0]))

    largest = max(float(v) for v in record['grad_norm'].values())
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    known = {ours(k): torch.tensor(v, dtype=torch.float64) for k, v in record['grad_norm'].items()}
    if not known.keys() <= gradients.keys():
        raise ValueError(f'the recorded gradients are of other parameters: {sorted(known.keys() - gradients)[:5]}')
    unreached = [g.double().norm() for k, g in gradients.items() if k not in known]
    zero = torch.zeros((), dtype=torch.float64)
    found = {'gradients of what no label reaches': Quantity(max(unreached, default=zero), zero, 0.0)}
    squares = zero
    for key, expected in known.items():
        norm = single_norm(gradients[key])
        squares = squares + norm.square()
        found[f'gradient norm of {key}'] = quantity(norm, expected, GRADIENT, 1e-6 * largest)
    found['gradient norm, total'] = quantity(squares.sqrt(), record['total_grad_norm'], GRADIENT)
    state = model.state_dict()
    for key, expected in record['bn_after'].items():
        found[f'after the step: {key}'] = quantity(state[ours(key)].clone(), expected, OUTPUT)
    return found

"""Replay of recorded DiffusionMTL runs: prediction, losses, gradients and batch statistics from the same draws."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor

from mmmtl.models import MultiTaskModel
from mmmtl.models.diffusionmtl.converter import convert

from .common import GRADIENT, LOSS, OUTPUT, label_of, published_form, published_task, ratio, relative

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
        if not _is_schedule(key) and abs(state[key].double().sum().item() - total) > 1e-12 * max(size, 1):
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
        dict(type='DiffusionMTLDecoder', mode=meta['variant'], hidden=hidden, num_steps=len(data['noise']) - 1),
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


def replay(data: dict) -> list[tuple[str, float, float]]:
    """``(quantity, difference, tolerance)`` of everything the run recorded."""
    model, tasks = build(data)
    thin = data['meta'].get('stride', 1)  # small recordings keep every n-th pixel of the maps
    dtype = getattr(torch, data['meta'].get('dtype', 'float32'))
    model.to(dtype)
    image = data['batch']['image'].to(dtype)
    noise = {
        f'{kind}.{tasks[old].name}': draw
        for kind, draws in data['noise'].items()
        for old, draw in draws.items()
        if kind != 'p0'
    }
    results: list[tuple[str, float, float]] = []
    model.eval()
    with torch.no_grad():
        raw = model(image, noise=noise)
    for old, expected in data['eval']['preds'].items():
        found = raw[tasks[old].name]
        results.append((f'eval {old}', relative(found[..., ::thin, ::thin], expected), OUTPUT))
        if 'post' in data['eval']:
            post = published_form(old, tasks[old].predict(found))
            expected_post = data['eval']['post'][old]
            wrong = relative(post, expected_post)
            if not post.is_floating_point():
                wrong = (post != expected_post).double().mean().item()
            results.append((f'eval {old}, post-processed', wrong, OUTPUT))
    return results + _replay_training(model, tasks, data, image, noise, thin)


def _replay_training(
    model: MultiTaskModel, tasks: dict, data: dict, image: Tensor, noise: dict, thin: int
) -> list[tuple[str, float, float]]:
    record, given = data['train'], data['batch']['task_w'].bool()
    index = {old: given[:, i].nonzero().flatten() for i, old in enumerate(tasks)}
    targets = {
        tasks[old].name: (rows, label_of(tasks[old], data['batch'][old][rows].float()))
        for old, rows in index.items()
        if len(rows)
    }
    size, results = tuple(image.shape[-2:]), []
    kept: dict[str, dict] = {}
    original = model.decoder.forward_train

    def observed(*args, **kwargs):
        kept['initial'], kept['final'] = original(*args, **kwargs)
        return kept['initial'], kept['final']

    model.train()
    model.decoder.forward_train = observed
    try:
        losses = model(image, mode='loss', targets=targets, noise=noise)
    finally:
        del model.decoder.forward_train
    total = sum(losses.values())
    total.backward()

    def upsampled(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, size, mode='bilinear', align_corners=False).detach()

    for old, task in tasks.items():
        first = upsampled(kept['initial'][task.name])
        difference = relative(first[..., ::thin, ::thin], record['inter_preds'][old])
        results.append((f'train initial {old}', difference, OUTPUT))
        if not len(index[old]):
            continue
        final = upsampled(kept['final'][task.name])
        expected = torch.cat([record['preds'][b][old] for b in index[old].tolist()])
        results.append((f'train final {old}', relative(final[..., ::thin, ::thin], expected), OUTPUT))
        label = targets[task.name][1]
        for prefix, logits in (('', final), ('inter_', first[index[old]])):
            value = task.loss(logits, label, per_sample=True).sum().item() / len(image)
            results.append((f'loss {prefix}{old}', ratio(value, record['losses'][prefix + old]), LOSS))
    results.append(('loss total', ratio(total.item(), record['losses']['total']), LOSS))
    return results + _gradients(model, tasks, record)


def _gradients(model: MultiTaskModel, tasks: dict, record: dict) -> list[tuple[str, float, float]]:
    names = {old: t.name for old, t in tasks.items()}

    def ours(key: str) -> str:
        return next(iter(convert({key: torch.zeros(())}, names)[0]))

    largest = max(float(v) for v in record['grad_norm'].values())
    parameters, worst = dict(model.named_parameters()), 0.0
    known = {ours(k) for k in record['grad_norm']}
    if not known <= set(parameters):
        raise ValueError('the recorded gradients are of other parameters')
    idle = [p.grad.norm().item() for k, p in parameters.items() if k not in known and p.grad is not None]
    squares = 0.0
    for key, expected in record['grad_norm'].items():
        norm = parameters[ours(key)].grad.norm().item()  # recorded in single precision, 6e-4 off for millions of values
        squares += norm**2
        worst = max(worst, abs(norm - float(expected)) / max(float(expected), 1e-6 * largest))
    results = [
        (f'gradient norms of {len(record["grad_norm"])} parameters, worst', worst, GRADIENT),
        ('gradients of what no label reaches', max(idle, default=0.0), 0.0),
        ('gradient norm, total', ratio(math.sqrt(squares), record['total_grad_norm']), GRADIENT),
    ]
    state = model.state_dict()
    for key, expected in record['bn_after'].items():
        results.append((f'after the step: {key}', relative(state[ours(key)], expected), OUTPUT))
    return results

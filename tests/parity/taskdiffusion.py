"""Replay of recorded TaskDiffusion runs, plain and MLoRE: sampling steps, losses, gradients, batch statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.reference.taskdiffusion import ReferenceTaskDiffusion, Setting, randomize
from mmmtl.models import MultiTaskModel
from mmmtl.models.taskdiffusion.converter import convert

from .common import GRADIENT, LOSS, OUTPUT, Result, label_of, published_form, published_task, ratio, relative

NOISE_FLOOR = 1e-7
"""Of the total gradient norm: what rounding leaves of a gradient that is zero in exact arithmetic."""


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded TaskDiffusion run."""
    return {'cfg', 'vit', 'train', 'eval'} <= set(data) and str(data['cfg'].get('model', '')).startswith(
        'TaskDiffusion'
    )


def setting_of(data: dict) -> Setting:
    """Sizes and switches of the recorded run, for the reference model."""
    cfg, vit = data['cfg'], data['vit']
    weights = cfg['loss_kwargs']['loss_weights']
    channels, outputs = cfg['TASKS']['NUM_CLASSES'], cfg['TASKS']['NUM_OUTPUTS']
    return Setting(
        tasks={n: channels[n] if channels[n] > 0 else outputs[n] for n in cfg['TASKS']['NAMES']},
        size=tuple(cfg['TRAIN']['SCALE']),
        width=cfg['final_embed_dim'],
        vit_dim=vit['embed_dim'],
        vit_depth=vit['depth'],
        vit_heads=vit['num_heads'],
        blocks=tuple(vit['select_list']),
        loss_weights=weights,
        edge_weight=cfg['edge_w'],
        aux_weight=cfg['aux_weight'],
        steps=cfg['timesteps'],
        repeats=cfg['randsteps'],
        scale=cfg['bit_scales']['all'],
        ranks=tuple(cfg.get('rank_list', ())),
        topk=cfg.get('topk', 0),
        special_rank=cfg.get('special_rank', 72),
        balance_weight=weights['load_balancing'],
    )


def state_of(data: dict) -> dict[str, Tensor]:
    """Published state dict: stored, or rebuilt from its seed."""
    if 'state_dict' in data:
        return data['state_dict']
    model = ReferenceTaskDiffusion(setting_of(data))
    randomize(model, data['state_seed'])
    return model.state_dict()


def build(data: dict) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The model of a recorded run with its weights, and ``{published task name: task}``."""
    s, cfg = setting_of(data), data['cfg']
    tasks = {}
    for old, channels in s.tasks.items():
        options: dict[str, Any] = {'loss_weight': s.loss_weights[old]}
        options.update(
            {
                'semseg': {'classes': channels},
                'edge': {'positive_weight': s.edge_weight},
                'depth': {'max_depth': cfg['TASKS'].get('depth_max', 80.0)},
            }.get(old, {})
        )
        tasks[old] = published_task(old, **options)
    decoder = dict(
        type='TaskDiffusionDecoder',
        scale=s.scale,
        steps=s.steps,
        repeats=s.repeats,
        aux_weight=s.aux_weight,
        separate_codes=[t.name for old, t in tasks.items() if old == 'sal'],
    )
    state = state_of(data)
    if s.ranks:
        own = next(v.shape[0] for k, v in state.items() if '.feat_task.0.0.conv2.' in k and k.endswith('.W.weight'))
        decoder.update(
            aux='level_mask',
            conditions=dict(
                type='MLoREConditions',
                grid=s.grid,
                ranks=s.ranks,
                topk=s.topk,
                own_rank=own,
                balance_weight=s.balance_weight,
            ),
        )
    model = MultiTaskModel(
        {t.name: t for t in tasks.values()},
        dict(
            type='TimmBackbone',
            model_name='vit_tiny_patch16_224',
            img_size=s.size,
            patch_size=data['vit']['patch_size'],
            embed_dim=s.vit_dim,
            depth=s.vit_depth,
            num_heads=s.vit_heads,
            out_indices=[b - 1 for b in s.blocks] + [s.vit_depth - 1],
        ),
        decoder,
        neck=dict(type='LevelProjection', channels=s.width),
    )
    renamed, _, unknown = convert(state, {old: t.name for old, t in tasks.items()})
    if unknown:
        raise ValueError(f'keys without a place: {unknown[:5]}')
    model.load_state_dict(renamed)
    return model, tasks


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the run recorded."""
    model, tasks = build(data)
    return _replay_prediction(model, tasks, data) + _replay_training(model, tasks, data)


def _replay_prediction(model: MultiTaskModel, tasks: dict, data: dict) -> list[Result]:
    record, thin, image = data['eval'], data.get('stride', 1), data['image']
    starts = record['tape'][0][1].split(len(image))
    noise = {'start' if i == 0 else f'start.{i}': z for i, z in enumerate(starts)}
    decoder, traces = model.decoder, []
    original = decoder.predict
    decoder.predict = lambda *args: original(*args, trace=traces)
    model.eval()
    try:
        with torch.no_grad():
            raw = model(image, noise=noise)
            if 'backbone_feat' in record:
                features = torch.cat(model.extract(image), 1)
    finally:
        del decoder.predict
    results = []
    if 'backbone_feat' in record:
        results.append(('features', relative(features, record['backbone_feat']), OUTPUT))
    if len(starts) == 1:
        results += _steps(record['probe'], traces[0], tasks, thin)
    for old, expected in record['outputs'].items():
        found = raw[tasks[old].name]
        results.append((f'prediction, {old}', relative(found[..., ::thin, ::thin], expected), OUTPUT))
        if 'post' in record:
            post = published_form(old, tasks[old].predict(found))
            wrong = relative(post, record['post'][old])
            if not post.is_floating_point():
                wrong = (post != record['post'][old]).double().mean().item()
            results.append((f'prediction, {old}, post-processed', wrong, OUTPUT))
    return results


def _steps(probe: dict, trace: list[dict], tasks: dict, thin: int) -> list[Result]:
    """Noisy maps and raw maps of every sampling step; the last step's are on the enlarged grid."""
    results = []
    for k, step in enumerate(trace):
        results.append((f'step {k}, noisy map', relative(step['noisy'], probe['zt_level0_in'][k]), OUTPUT))
        worst = 0.0
        for old, expected in probe['logits'][k * len(tasks) : (k + 1) * len(tasks)]:
            found = step['raw'][tasks[old].name]
            worst = max(
                worst, relative(found if found.shape == expected.shape else found[..., ::thin, ::thin], expected)
            )
        results.append((f'step {k}, raw maps, worst task', worst, OUTPUT))
    return results


def _replay_training(model: MultiTaskModel, tasks: dict, data: dict) -> list[Result]:
    record, thin, image = data['train'], data.get('stride', 1), data['image']
    names = {old: t.name for old, t in tasks.items()}
    draws = [draw for _, draw in record['tape']]
    noise = {'time': draws[0], 'noise': draws[1]}
    order = [(level, t, block) for level in range(4) for t in names.values() for block in range(2)]
    for (level, task, block), draw in zip(order, draws[2:]):
        noise[f'router.{level}.{task}.{block}'] = draw.flatten(1)
    index = torch.arange(len(image))
    targets = {
        t.name: (index, label_of(t, data['targets'][old], 0 if old == 'depth' else 255)) for old, t in tasks.items()
    }
    kept: list[dict] = []
    original = model.decoder.train_maps

    def observed(*args):
        kept[:] = original(*args)
        return tuple(kept)

    model.train()
    model.decoder.train_maps = observed
    try:
        losses = model(image, mode='loss', targets=targets, noise=noise)
    finally:
        del model.decoder.train_maps
    total = sum(losses.values())
    total.backward()
    results = []
    for title, maps, expected in (('main', kept[0], record['logits']), ('auxiliary', kept[1], record['aux_logits'])):
        for old, wanted in expected.items():
            full = torch.nn.functional.interpolate(maps[names[old]], image.shape[-2:], mode='bilinear').detach()
            results.append((f'training, {title} {old}', relative(full[..., ::thin, ::thin], wanted), OUTPUT))
    for old, task in tasks.items():
        for prefix, expected, weight in (
            ('', record['loss'], 1.0),
            ('aux.', record['aux_loss'], model.decoder.aux_weight),
        ):
            found = losses[f'{prefix}loss_{task.name}'].item() / (weight * task.loss_weight)
            results.append((f'loss, {prefix}{old}', ratio(found, expected[old]), LOSS))
    if 'cv' in record['loss']:
        found = losses['loss_balance'].item() / model.decoder.conditions.balance_weight
        results.append(('loss, load balance', ratio(found, record['loss']['cv']), LOSS))
    results.append(('loss, total', ratio(total.item(), record['total']), LOSS))
    return results + _gradients(model, names, record)


def _gradients(model: MultiTaskModel, names: dict[str, str], record: dict) -> list[Result]:
    expected = convert(record['grads'], names)[0]
    parameters = dict(model.named_parameters())
    missing = [k for k, p in parameters.items() if p.grad is None]
    if missing or set(expected) - set(parameters):
        raise ValueError(
            f'parameters without a gradient: {missing[:5]}, recorded without a place here: '
            f'{sorted(set(expected) - set(parameters))[:5]}'
        )
    norm = torch.stack([p.grad.norm() for p in parameters.values()]).norm()
    floor = NOISE_FLOOR * float(record['grad_norm']) / GRADIENT
    worst, at = 0.0, ''
    for key, wanted in expected.items():
        # gradients of the label encoder are small, but none of them is zero
        scale = max(wanted.norm().item(), 1e-30 if '.label_encoder.' in key else floor)
        difference = (parameters[key].grad - wanted).norm().item() / scale
        if not difference <= worst:
            worst, at = difference, key
    results = [
        (f'gradients of {len(expected)} parameters, worst: {at}', worst, GRADIENT),
        ('gradient norm', ratio(norm.item(), record['grad_norm']), GRADIENT),
    ]
    state = model.state_dict()
    after = {k: relative(state[k], v) for k, v in convert(record['bn_after'], names)[0].items()}
    results.append((f'statistics after the step, worst of {len(after)}', max(after.values()), OUTPUT))
    return results

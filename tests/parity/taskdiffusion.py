"""Replay of recorded TaskDiffusion runs, plain and MLoRE: sampling steps, losses, gradients, batch statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference.taskdiffusion import ReferenceTaskDiffusion, Setting, randomize
from mmmtl.models import MultiTaskModel
from mmmtl.models.taskdiffusion.converter import convert

from .common import (
    GRADIENT,
    LOSS,
    OUTPUT,
    Quantity,
    Result,
    at_recorded_maps,
    cast,
    classes_of,
    judged,
    label_of,
    nudged,
    published_form,
    published_task,
    quantity,
    watched,
)

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
        label_encoder=dict(scale=s.scale, separate=[t.name for old, t in tasks.items() if old == 'sal']),
        denoiser=dict(interaction='mask'),  # the published program relates a single task to itself
        steps=s.steps,
        repeats=s.repeats,
        aux_weight=s.aux_weight,
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
    start = model.state_dict()

    def run(dtype: torch.dtype, seed: int | None) -> dict[str, Quantity]:
        model.to(dtype)
        model.load_state_dict(nudged(start, seed))
        typed = {k: cast(data[k], dtype) for k in ('image', 'targets')}
        return {**_prediction(model, tasks, data, **typed), **_training(model, tasks, data, **typed)}

    return judged(run)


def _prediction(model: MultiTaskModel, tasks: dict, data: dict, image: Tensor, targets: dict) -> dict[str, Quantity]:
    record, thin, decoder = data['eval'], data.get('stride', 1), model.decoder
    starts = record['tape'][0][1].split(len(image))
    noise = {'start' if i == 0 else f'start.{i}': z for i, z in enumerate(starts)}
    model.eval()
    with torch.no_grad(), _probed(decoder) as probe:
        raw = model(image, noise=noise)
        features = torch.cat(model.extract(image), 1)
    found = {}
    if 'backbone_feat' in record:
        found['features'] = quantity(features, record['backbone_feat'], OUTPUT)
    if len(starts) == 1:
        found.update(_steps('step', probe, record['probe'], tasks, thin))
    for old, expected in record['outputs'].items():
        ours = raw[tasks[old].name]
        found[f'prediction, {old}'] = quantity(ours[..., ::thin, ::thin], expected, OUTPUT)
        if 'post' in record:
            title, wanted = f'prediction, {old}, post-processed', record['post'][old]
            post = published_form(old, tasks[old].predict(ours))
            if wanted.is_floating_point():
                found[title] = quantity(post, wanted, 2 * OUTPUT)
            else:
                found[title] = classes_of(post, wanted, expected, OUTPUT)
    return found


@contextmanager
def _probed(decoder: Any) -> Iterator[SimpleNamespace]:
    """What the decoder does in each step: times, embeddings, noisy maps, raw maps, encoded predictions."""
    encoder = decoder.label_encoder
    with (
        watched(decoder.time_embedding, 'forward') as times,
        watched(decoder, 'denoise') as denoised,
        watched(encoder, 'combine') as codes,
    ):
        yield SimpleNamespace(times=times, denoised=denoised, codes=codes, encoder=encoder)


def _steps(title: str, probe: SimpleNamespace, record: dict, tasks: dict, thin: int) -> dict[str, Quantity]:
    """Every recorded quantity of every step; the last step's raw maps are on the enlarged grid."""
    found: dict[str, Quantity] = {}
    (log_snr,), embedded = probe.times[0]
    count = len(probe.denoised)
    for k, (args, raw) in enumerate(probe.denoised):
        # the times of a prediction are asked for at once, the same for all samples; in training each sample has its own
        part = slice(k, k + 1) if count > 1 or len(log_snr) == 1 else slice(None)
        if 'log_snr' in record:
            times, silu = record['log_snr'][k], torch.nn.functional.silu(record['temb'][k].double())
            found[f'{title} {k}, log SNR'] = quantity(log_snr[part].expand(times.shape), times, OUTPUT)
            found[f'{title} {k}, time embedding'] = quantity(embedded[part].expand(silu.shape), silu, OUTPUT)
        found[f'{title} {k}, noisy map'] = quantity(args[0], record['zt_level0_in'][k], OUTPUT)
        for old, expected in record['logits'][k * len(tasks) : (k + 1) * len(tasks)]:
            map_ = raw[tasks[old].name]
            map_ = map_ if map_.shape == expected.shape else map_[..., ::thin, ::thin]
            found[f'{title} {k}, raw map {old}'] = quantity(map_, expected, OUTPUT)
    for k, (_, encoded) in enumerate(probe.codes if 'z0_embed_all' in record else ()):
        # recorded before it is squashed; codes that are not mixed stand in front of it
        mixed = record['z0_embed_all'][k]
        squashed = (mixed.double().sigmoid() * 2 - 1) * probe.encoder.scale
        found[f'{title} {k}, encoded maps'] = quantity(encoded[:, -mixed.shape[1] :], squashed, OUTPUT)
    return found


def _training(model: MultiTaskModel, tasks: dict, data: dict, image: Tensor, targets: dict) -> dict[str, Quantity]:
    record, thin, decoder = data['train'], data.get('stride', 1), model.decoder
    names = {old: t.name for old, t in tasks.items()}
    draws = [draw for _, draw in record['tape']]
    noise = {'time': draws[0], 'noise': draws[1]}
    order = [(level, t, block) for level in range(4) for t in names.values() for block in range(2)]
    for (level, task, block), draw in zip(order, draws[2:]):
        noise[f'router.{level}.{task}.{block}'] = draw.flatten(1)
    index = torch.arange(len(image))
    labels = {t.name: (index, label_of(t, targets[old], 0 if old == 'depth' else 255)) for old, t in tasks.items()}
    routers = {k: m for k, m in model.named_modules() if '.router.' in k and hasattr(m, 'gate')}
    routes: dict[str, Tensor] = {}
    handles = [
        m.register_forward_hook(lambda m, a, out, k=k: routes.update({k: out.gates})) for k, m in routers.items()
    ]
    model.train()
    model.zero_grad(set_to_none=True)
    recorded = {t: [data['train'][k][old] for k in ('logits', 'aux_logits')] for old, t in names.items()}
    with (
        _probed(decoder) as probe,
        watched(decoder, 'train_maps') as maps,
        at_recorded_maps(decoder.tasks, recorded if thin == 1 else {}),
    ):
        losses = model(image, mode='loss', targets=labels, noise=noise)
    for handle in handles:
        handle.remove()
    total = sum(losses.values())
    total.backward()
    main, auxiliary, _ = maps[0][1]
    # a small recording keeps the probes of the prediction alone
    found = _steps('training', probe, record['probe'], tasks, thin) if 'probe' in record else {}
    for title, ours, expected in (('main', main, record['logits']), ('auxiliary', auxiliary, record['aux_logits'])):
        for old, wanted in expected.items():
            full = torch.nn.functional.interpolate(ours[names[old]], image.shape[-2:], mode='bilinear')
            found[f'training, {title} {old}'] = quantity(full[..., ::thin, ::thin], wanted, OUTPUT)
    found.update(_losses(decoder, losses, tasks, record, total))
    for block, levels in enumerate(record.get('route', ())):
        for level, row in enumerate(levels):
            for old, expected in row.items():
                gates = routes[f'decoder.conditions.levels.{level}.{block}.router.{names[old]}']
                found[f'route of {old}, level {level}, block {block}'] = quantity(gates, expected.flatten(1), OUTPUT)
    return {**found, **_gradients(model, names, record)}


def _losses(decoder: Any, losses: dict, tasks: dict, record: dict, total: Tensor) -> dict[str, Quantity]:
    found = {}
    for prefix, expected, weight in (('', record['loss'], 1.0), ('aux.', record['aux_loss'], decoder.aux_weight)):
        for old, task in tasks.items():
            value = losses[f'{prefix}loss_{task.name}'] / (weight * task.loss_weight)
            found[f'loss, {prefix}{old}'] = quantity(value, expected[old], LOSS)
        if 'total' in expected:
            parts = sum(losses[f'{prefix}loss_{t.name}'] for t in tasks.values()) / weight
            parts = parts + (0 if prefix else losses.get('loss_balance', 0))
            found[f'loss, {prefix}total'] = quantity(parts, expected['total'], LOSS)
    if 'cv' in record['loss']:
        balance = losses['loss_balance'] / decoder.conditions.balance_weight
        found['loss, load balance'] = quantity(balance, record['loss']['cv'], LOSS)
    found['loss, total with all'] = quantity(total, record['total'], LOSS)
    return found


def _gradients(model: MultiTaskModel, names: dict[str, str], record: dict) -> dict[str, Quantity]:
    expected = convert(record['grads'], names)[0]
    parameters = dict(model.named_parameters())
    missing = [k for k, p in parameters.items() if p.grad is None]
    if missing or set(expected) - set(parameters):
        raise ValueError(
            f'parameters without a gradient: {missing[:5]}, recorded without a place here: '
            f'{sorted(set(expected) - set(parameters))[:5]}'
        )
    floor = NOISE_FLOOR * float(record['grad_norm']) / GRADIENT
    found = {}
    for key, wanted in expected.items():
        # gradients of the label encoder are small, but none of them is zero
        at_least = 1e-30 if '.label_encoder.' in key else floor
        found[f'gradient of {key}'] = quantity(parameters[key].grad, wanted, GRADIENT, at_least)
    norm = torch.stack([p.grad.double().norm() for p in parameters.values()]).norm()
    found['gradient norm'] = quantity(norm, record['grad_norm'].double(), GRADIENT)
    state = model.state_dict()
    for key, wanted in convert(record['bn_after'], names)[0].items():
        found[f'after the step: {key}'] = quantity(state[key].clone(), wanted, OUTPUT)
    return found

"""Replay of recorded MTI-Net runs."""

from __future__ import annotations

from typing import Any

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.mtinet.converter import convert

from .common import OUTPUT, Result, relative
from .compared import cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned

OWN_LOSSES = {
    'sal': dict(loss=dict(type='ThresholdedBinaryCrossEntropy'), out_channels=1),
    'normals': dict(loss=dict(type='MaskedL1', normalize=True, average='elements')),
}


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded MTI-Net run."""
    return data.get('method') == 'mti_net'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return [(f'{name}: {q}', d, t) for name, case in cases_of(data).items() for q, d, t in _replay(case)]


def backbone_of(case: dict) -> dict[str, Any]:
    """Config of the recorded backbone: an HRNet as its config says, a ResNet as its weights say."""
    hrnet, state = case['cfg'].get('hrnet'), case['state_dict']
    if hrnet is not None:
        extra = {
            f'stage{i}': dict(
                num_modules=s['NUM_MODULES'],
                num_branches=s['NUM_BRANCHES'],
                block=s['BLOCK'],
                num_blocks=tuple(s['NUM_BLOCKS']),
                num_channels=tuple(s['NUM_CHANNELS']),
            )
            for i, s in enumerate((hrnet[f'STAGE{k}'] for k in (1, 2, 3, 4)), 1)
        }
        return dict(type='mmseg.HRNet', extra=extra, norm_cfg=dict(type='BN', momentum=0.01))
    blocks = [len({k.split('.')[2] for k in state if k.startswith(f'backbone.layer{i}.')}) for i in (1, 2, 3, 4)]
    widths = [state[f'backbone.layer{i}.0.conv1.weight'].shape[0] for i in (1, 2, 3, 4)]
    return dict(type='TimmBackbone', model_name='resnet18', layers=blocks, channels=widths)


def build(case: dict) -> tuple[MultiTaskModel, dict]:
    """Model and tasks of a case."""
    cfg = case['cfg']
    own = {}
    if cfg.get('losses') == 'mti_net':
        edge = dict(type='ThresholdedBinaryCrossEntropy', positive_weight=cfg['edge_w'])
        own = {**OWN_LOSSES, 'edge': dict(loss=edge)}
    tasks = tasks_of(case, **{n: o for n, o in own.items() if n in cfg['num_output']})
    decoder = dict(type='MTINetDecoder', final=[tasks[n].name for n in cfg['tasks']])
    return MultiTaskModel({t.name: t for t in tasks.values()}, backbone_of(case), decoder), tasks


def _replay(case: dict) -> list[Result]:
    model, tasks = build(case)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, decoder = case['eval'], model.decoder
    seen: dict[str, list] = {'propagate': [], 'distill': []}
    for kind, found in seen.items():
        for module in getattr(decoder, kind):
            module.register_forward_hook(lambda m, args, out, found=found: found.append((args[0], out)))
    with torch.no_grad():
        feats = model.extract(case['image'].float())
        raw, initial = decoder(feats)
    passed = dict(zip((3, 2, 1), seen['propagate']))
    results = [(f'level {i}', relative(feats[i], x), OUTPUT) for i, x in enumerate(record.get('backbone', ()))]
    maps = {
        'fpm': {k: out for k, (_, out) in passed.items()},
        'features': {k: x for k, (x, _) in passed.items()},
        'distillation': {k: out for k, (_, out) in enumerate(seen['distill'])},
        'initial': dict(enumerate(initial)),
    }
    for title, scales in maps.items():
        for k, wanted in record.get(title, {}).items():
            for old, expected in wanted.items():
                results.append((f'{title} {k}, {old}', relative(scales[int(k)][tasks[old].name], expected), OUTPUT))
    full = full_size(raw, tuple(case['image'].shape[-2:]))
    for old, expected in record['outputs'].items():
        results.append((f'outputs, {old}', thinned(full[tasks[old].name], expected, record['stride']), OUTPUT))
    targets = targets_of(case, tasks, depth_unknown=255)
    prefixes = {'': ('', 1.0), **{f'scale_{k}_': (f'scale_{k}.', decoder.inter_weight) for k in range(4)}}
    return results + replay_training(model, case, tasks, convert, targets, prefixes)

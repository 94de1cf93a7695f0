"""Replay of recorded ATRC runs."""

from __future__ import annotations

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.atrc import ATRCConverter

from .common import OUTPUT, Result, relative
from .compared import RecordedDropout, cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned

convert = ATRCConverter().convert


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded ATRC run."""
    return data.get('method') == 'atrc'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    cases = cases_of(data).items()
    return [(f'{name}: {q}', d, t) for name, case in cases for q, d, t in _replay(case, data['centroids'])]


def build(case: dict, centroids: dict) -> tuple[MultiTaskModel, dict]:
    """Model and tasks of a case."""
    cfg = case['cfg'] = {**case['cfg'], 'num_output': case['cfg']['classes']}
    tasks = tasks_of(case)
    vectors = centroids[cfg['centroids']].tolist()
    decoder = dict(
        type='ATRCDecoder',
        genotypes={tasks[t].name: ''.join(str(row[s]) for s in cfg['tasks']) for t, row in cfg['genotype'].items()},
        dropout=cfg['drop'],
        regions={tasks['normals'].name: dict(type='DirectionRegions', centroids=vectors)},
    )
    backbone = dict(type='mmseg.HRNet', extra=cfg['hrnet'], norm_cfg=dict(type='BN'))
    return MultiTaskModel({t.name: t for t in tasks.values()}, backbone, decoder), tasks


def _replay(case: dict, centroids: dict) -> list[Result]:
    model, tasks = build(case, centroids)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, train, size = case['eval'], case['train'], tuple(case['image'].shape[-2:])
    with torch.no_grad():
        feats = model.extract(case['image'].float())
        raw, aux = model.decoder(feats)
    results = [(f'level {i}', relative(feats[i], x), OUTPUT) for i, x in enumerate(record['backbone'])]
    for title, maps in (('outputs', raw), ('aux', aux)):
        full = full_size(maps, size)
        for old, wanted in record[title].items():
            results.append((f'{title}, {old}', thinned(full[tasks[old].name], wanted, record['stride']), OUTPUT))
    for task, keep in zip(tasks.values(), train['drop_keep']):
        model.decoder.dropout[task.name] = RecordedDropout(keep, case['cfg']['drop'])
    weighted = {'total': train['total']}
    for key, value in train['weighted_loss'].items():
        old, _, kind = key.rpartition('_')
        weighted[old if kind == 'final' else f'aux_{old}'] = value / tasks[old].loss_weight
    case = {**case, 'train': {**train, 'loss': weighted}}
    targets = targets_of(case, tasks, depth_unknown=255)
    prefixes = {'': ('', 1.0), 'aux_': ('aux.', 1.0)}
    return results + replay_training(model, case, tasks, convert, targets, prefixes)

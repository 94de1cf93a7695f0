"""Replay of recorded InvPT runs."""

from __future__ import annotations

from typing import Any

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.invpt import InvPTConverter
from mmmtl.registry import MODELS

from .common import OUTPUT, Result, relative
from .compared import (
    cases_of,
    features,
    full_size,
    inputs_of,
    load,
    replay_training,
    targets_of,
    tasks_of,
    thinned,
    vit_options,
)

convert = InvPTConverter().convert


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded InvPT run."""
    return data.get('method') == 'invpt'


def build(case: dict) -> tuple[Any, dict]:
    """Model and tasks of a case."""
    cfg, tasks = case['cfg'], tasks_of(case)
    decoder = dict(type='InvPTDecoder', channels=cfg['embed_dim'], extra_channels=cfg['PRED_OUT_NUM_CONSTANT'])
    ours = {t.name: t for t in tasks.values()}
    if 'vit' not in cfg:
        model = torch.nn.Module()
        model.decoder = MODELS.build(
            {**decoder, 'tasks': ours, 'in_channels': cfg['backbone_channels'], 'strides': [4, 8, 16, 32]}
        )
        return model, tasks
    backbone = dict(type='TimmBackbone', class_token=True, **vit_options(cfg))
    return MultiTaskModel(ours, backbone, decoder), tasks


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return [(f'{name}: {q}', d, t) for name, case in cases_of(data).items() for q, d, t in _replay(case)]


def _replay(case: dict) -> list[Result]:
    model, tasks = build(case)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record = case['eval']
    size = tuple(next(iter(case['targets'].values())).shape[-2:])
    results = []
    scores: list = []
    for stage in model.decoder.stages:
        stage.register_forward_hook(lambda module, args, out: scores.append(out))
    with torch.no_grad():
        levels = features(model, inputs_of(case))
        raw, inter = model.decoder(levels, size)
    for i, wanted in enumerate(record.get('backbone', ())):
        results.append((f'level {i}', relative(levels[i].flatten(2).transpose(1, 2), wanted), OUTPUT))
    for title, maps, stride in (('outputs', raw, record['stride']), ('inter_preds', inter, record['inter_stride'])):
        full = full_size(maps, size)
        for old, task in tasks.items():
            results.append((f'{title}, {old}', thinned(full[task.name], record[title][old], stride), OUTPUT))
    for i, (_, score) in enumerate(scores):
        if f'score{i}' in record:
            found = score[..., :: record['score_stride'][i], :]
            results.append((f'scores {i}', relative(found, record[f'score{i}']), OUTPUT))
    targets = targets_of(case, tasks, depth_unknown=255)
    prefixes = {'': ('', 1.0), 'inter_': ('inter.', model.decoder.inter_weight)}
    return results + replay_training(model, case, tasks, convert, targets, prefixes)

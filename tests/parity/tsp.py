"""Replay of recorded TSP-Transformer runs."""

from __future__ import annotations

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.tsp.converter import convert

from .common import OUTPUT, Result, relative
from .compared import cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned, vit_options


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded TSP-Transformer run."""
    return data.get('method') == 'tsp_transformer'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return [(f'{name}: {q}', d, t) for name, case in cases_of(data).items() for q, d, t in _replay(case)]


def build(case: dict) -> tuple[MultiTaskModel, dict]:
    """Model and tasks of a case."""
    cfg, tasks = case['cfg'], tasks_of(case)
    ours = {t.name: t for t in tasks.values()}
    backbone = dict(
        type='TaskPromptViT',
        tasks=list(ours),
        prompt_length=cfg['prompt_nums'],
        prompt_layers=cfg['prompt_layers'],
        prompted=cfg['prompt_insertype'].lower(),
        **vit_options(cfg),
    )
    decoder = dict(type='TSPDecoder', channels=cfg['embed_dim'], extra_channels=cfg['PRED_OUT_NUM_CONSTANT'])
    return MultiTaskModel(ours, backbone, decoder), tasks


def _replay(case: dict) -> list[Result]:
    model, tasks = build(case)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, size = case['eval'], tuple(case['image'].shape[-2:])
    with torch.no_grad():
        feats = model.extract(case['image'].float())
        raw, inter = model.decoder(feats, size)
    results = []
    for old, levels in record['backbone'].items():
        s = list(tasks).index(old)
        for i, wanted in enumerate(levels):
            found = feats[i * len(tasks) + s].flatten(2).transpose(1, 2)
            results.append((f'level {i}, {old}', relative(found, wanted), OUTPUT))
    for title, maps in (('outputs', raw), ('inter_preds', inter)):
        full = full_size(maps, size)
        for old, task in tasks.items():
            results.append((f'{title}, {old}', thinned(full[task.name], record[title][old], record['stride']), OUTPUT))
    targets = targets_of(case, tasks, depth_unknown=255)
    prefixes = {'': ('', 1.0), 'inter_': ('inter.', model.decoder.inter_weight)}
    return results + replay_training(model, case, tasks, convert, targets, prefixes)

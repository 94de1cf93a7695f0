"""Replay of recorded TaskPrompter runs."""

from __future__ import annotations

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.taskprompter import TaskPrompterConverter

from .common import OUTPUT, Result, relative
from .compared import cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned, vit_options

convert = TaskPrompterConverter().convert


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded TaskPrompter run."""
    return data.get('method') == 'taskprompter'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return [(f'{name}: {q}', d, t) for name, case in cases_of(data).items() for q, d, t in _replay(case)]


def build(case: dict) -> tuple[MultiTaskModel, dict]:
    """Model and tasks of a case."""
    cfg, tasks = case['cfg'], tasks_of(case)
    ours = {t.name: t for t in tasks.values()}
    backbone = dict(type='PromptedViT', tasks=list(ours), windows=round(cfg['chan_nheads'] ** 0.5), **vit_options(cfg))
    decoder = dict(
        type='TaskPrompterDecoder',
        channels=cfg['embed_dim'],
        width=cfg['final_embed_dim'],
        cross_task_reweighting=cfg['use_ctr'],
    )
    return MultiTaskModel(ours, backbone, decoder), tasks


def _replay(case: dict) -> list[Result]:
    model, tasks = build(case)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, size, decoder = case['eval'], case['image'].shape[-2:], model.decoder
    levels: list[dict] = []
    inner = decoder.level_features
    decoder.level_features = lambda *args: levels.append(inner(*args)) or levels[-1]
    with torch.no_grad():
        feats = model.extract(case['image'].float())
        raw = decoder(feats)
    del decoder.level_features
    count, batch = len(tasks), len(feats[0])
    results = []
    for i, wanted in enumerate(record.get('block_out', [])[:-1]):
        results.append((f'patches {i}', relative(feats[i].flatten(2).transpose(1, 2), wanted), OUTPUT))
    for i, wanted in enumerate(record.get('spatial', ())):
        heads = wanted.shape[1]
        own = feats[12 + i].reshape(batch, heads, count, count)
        found = torch.cat([own, feats[4 + i].reshape(batch, heads, count, -1)], -1)
        results.append((f'spatial scores {i}', relative(found, wanted), OUTPUT))
    for i, wanted in enumerate(record.get('channel', ())):
        found = feats[8 + i].unflatten(1, (-1, count)).transpose(1, 2)
        results.append((f'channel scores {i}', relative(found.reshape(wanted.shape), wanted), OUTPUT))
    for i, wanted in enumerate(record.get('level', ())):
        for old, task in tasks.items():
            results.append((f'level {i}, {old}', relative(levels[i][task.name], wanted[old]), OUTPUT))
    full = full_size(raw, tuple(size))
    for old, task in tasks.items():
        results.append((f'outputs, {old}', thinned(full[task.name], record['outputs'][old], record['stride']), OUTPUT))
        if 'raw_logits' in record:
            results.append((f'raw maps, {old}', thinned(raw[task.name], record['raw_logits'][old], 1), OUTPUT))
    targets = targets_of(case, tasks, depth_unknown=case['cfg'].get('depth_ignore', -1))
    return results + replay_training(model, case, tasks, convert, targets, {'': ('', 1.0)})

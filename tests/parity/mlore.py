"""Replay of recorded MLoRE runs."""

from __future__ import annotations

import torch

from mmmtl.models import MultiTaskModel
from mmmtl.models.mlore import MLoREConverter

from .common import OUTPUT, Result, relative
from .compared import cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned, vit_options

convert = MLoREConverter().convert


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded MLoRE run."""
    return data.get('method') == 'mlore'


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return [(f'{name}: {q}', d, t) for name, case in cases_of(data).items() for q, d, t in _replay(case)]


def build(case: dict) -> tuple[MultiTaskModel, dict]:
    """Model and tasks of a case."""
    cfg, tasks = case['cfg'], tasks_of(case)
    grid = [side // cfg['vit']['patch_size'] for side in cfg['size']]
    conditions = dict(
        type='MLoREConditions',
        grid=grid,
        ranks=list(cfg['rank_list']),
        own_rank=cfg['spe_rank'],
        topk=cfg['topk'],
        pre_softmax=bool(cfg.get('pre_softmax', False)),
        balance_weight=cfg['load_balancing'],
    )
    model = MultiTaskModel(
        {t.name: t for t in tasks.values()},
        dict(type='TimmBackbone', **vit_options(cfg)),
        dict(type='MLoREDecoder', conditions=conditions),
        neck=dict(type='LevelProjection', channels=cfg['final_embed_dim']),
    )
    return model, tasks


class Tape:
    """Recorded draws of the routers by the names of a noise source."""

    def __init__(self, draws: list[torch.Tensor], tasks: dict) -> None:
        order = [(level, block, t.name) for level in range(4) for block in range(2) for t in tasks.values()]
        self.draws = {f'router.{level}.{t}.{block}': draw for (level, block, t), draw in zip(order, draws)}

    def normal(self, name: str, shape: tuple, like: torch.Tensor) -> torch.Tensor:
        """The recorded draw of that name."""
        return self.draws[name].reshape(shape).to(like)


def _replay(case: dict) -> list[Result]:
    model, tasks = build(case)
    load(model, case, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, size = case['eval'], tuple(case['image'].shape[-2:])
    blocks: list = []
    for level in model.decoder.conditions.levels:
        for block in level:
            block.register_forward_hook(lambda module, args, out: blocks.append(out))
    with torch.no_grad():
        feats = model.extract(case['image'].float())
        raw = model.decoder.predict(feats, None, size)
    results = [(f'level {i}', relative(feats[i], x), OUTPUT) for i, x in enumerate(record['level_fea'])]
    for n in (1, 2):
        for level, (maps, gates) in enumerate(blocks[n - 1 :: 2]):
            results.append(
                (f'block {n}, level {level}', relative(torch.stack(maps), record[f'block{n}'][level]), OUTPUT)
            )
            results.append((f'gates {n}, level {level}', relative(gates, record[f'gates_{n}'][level]), OUTPUT))
    full = full_size(raw, size)
    for old, task in tasks.items():
        results.append((f'outputs, {old}', thinned(full[task.name], record['outputs'][old], record['stride']), OUTPUT))
        results.append((f'raw maps, {old}', relative(raw[task.name], record['raw_logits'][old]), OUTPUT))
        merged = record['repara_outputs'][old]
        results.append((f'merged, {old}', thinned(full[task.name], merged, size[0] // merged.shape[-2]), OUTPUT))
    targets = targets_of(case, tasks, depth_unknown=case['cfg'].get('depth_ignore', 0))
    noise, train, weight = Tape(case['train']['tape'], tasks), case['train'], case['cfg']['load_balancing']
    losses = {key: {**train[key], 'balance_weight': weight} for key in ('loss', 'loss64')}
    case = {**case, 'train': {**train, **losses}}
    return results + replay_training(model, case, tasks, convert, targets, {'': ('', 1.0)}, noise=noise)

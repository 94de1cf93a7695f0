"""Replay of the recorded runs of compared methods: outputs, intermediate maps, losses, gradients in float64, statistics.

A method has a module beside this one with ``METHOD`` (the recording's name of it), ``build(case)`` (its model without
weights, and the tasks by their published names), ``convert`` and, where more was recorded than outputs, ``observe``.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .common import LOSS, Result, label_of, published_task, ratio, relative

STATISTICS = 1e-5
GRADIENT = 1e-5
"""Of a gradient's own norm, both in float64; at least of :data:`SMALL` times the norm of all gradients."""
SMALL = 1e-4


def cases_of(data: dict) -> dict[str, dict]:
    """Recorded cases of a file by name."""
    return {name: case for name, case in data.items() if isinstance(case, dict) and 'state_dict' in case}


def tasks_of(case: dict, **more: dict[str, Any]) -> dict[str, Any]:
    """Tasks of a recorded case by their published names; ``more``: options by published name."""
    cfg = case['cfg']
    tasks = {}
    for name, channels in cfg['num_output'].items():
        options = {'loss_weight': cfg['loss_weights'][name], **more.get(name, {})}
        options.update({'semseg': {'classes': channels}, 'edge': {'positive_weight': cfg.get('edge_w')}}.get(name, {}))
        tasks[name] = published_task(name, **options)
    return tasks


def vit_options(cfg: dict) -> dict[str, Any]:
    """Arguments of a backbone for the recorded ViT."""
    vit = cfg['vit']
    return dict(
        model_name='vit_tiny_patch16_224',
        img_size=tuple(cfg['size']),
        patch_size=vit['patch_size'],
        embed_dim=vit['embed_dim'],
        depth=vit['depth'],
        num_heads=vit['num_heads'],
        out_indices=[b - 1 for b in vit['select_list']] + [vit['depth'] - 1],
    )


def targets_of(case: dict, tasks: dict, depth_unknown: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Recorded labels as a decoder takes them; every image is labelled."""
    index = torch.arange(len(next(iter(case['targets'].values()))))
    return {
        task.name: (index, label_of(task, case['targets'][old], depth_unknown if old == 'depth' else 255))
        for old, task in tasks.items()
        if old in case['targets']
    }


def thinned(found: Tensor, expected: Tensor, stride: int) -> float:
    """Relative difference of a map whose recording may keep every ``stride``-th row and column only."""
    return relative(found if found.shape == expected.shape else found[..., ::stride, ::stride], expected)


def full_size(maps: dict[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """Raw maps brought to the input's size, as published code returns them."""
    return {n: F.interpolate(x, size, mode='bilinear', align_corners=False) for n, x in maps.items()}


def load(model: nn.Module, case: dict, convert: Any, names: dict[str, str]) -> None:
    """Load recorded weights strictly."""
    renamed, _, unknown = convert(case['state_dict'], names)
    if unknown:
        raise ValueError(f'keys without a place: {unknown[:5]}')
    model.load_state_dict(renamed)


def inputs_of(case: dict) -> Any:
    """What the model takes: an image, or backbone features where those were recorded."""
    return case['image'].float() if 'image' in case else [x.float() for x in case['features']]


def features(model: nn.Module, inputs: Any) -> Any:
    """Levels of the backbone, after the neck."""
    return model.extract(inputs) if isinstance(inputs, Tensor) else inputs


def replay_training(
    model: nn.Module,
    case: dict,
    tasks: dict,
    convert: Any,
    targets: dict,
    prefixes: dict[str, tuple[str, float]],
    noise: Any = None,
) -> list[Result]:
    """Losses in float32; losses, gradients and running statistics in float64.

    Args:
        model: With the recorded weights.
        prefixes: ``{published prefix of a loss: (prefix here, weight of these losses in the total)}``.
        noise: Recorded draws, as a noise source.
    """
    record, names = case['train'], {old: t.name for old, t in tasks.items()}
    size = case['image'].shape[-2:] if 'image' in case else next(iter(case['targets'].values())).shape[-2:]
    results = []
    for dtype, key in ((torch.float32, 'loss'), (torch.float64, 'loss64')):
        run = copy.deepcopy(model).to(dtype).train()
        inputs = inputs_of(case)
        inputs = inputs.to(dtype) if isinstance(inputs, Tensor) else [x.to(dtype) for x in inputs]
        typed = {n: (i, y.to(dtype) if y.is_floating_point() else y) for n, (i, y) in targets.items()}
        losses = run.decoder.loss(features(run, inputs), typed, noise, tuple(size))
        total = sum(losses.values())
        if key in record:
            results += _losses(key, losses, tasks, prefixes, record[key])
    total.backward()
    results += replay_drop_path(model, case, tasks, targets, prefixes, noise)
    return results + compare_gradients(run, case, convert, names) + compare_statistics(run, case, convert, names)


class RecordedDropout(nn.Module):
    """Dropout of whole channels with recorded decisions."""

    def __init__(self, keep: Tensor, rate: float) -> None:
        super().__init__()
        self.keep, self.rate = keep, rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → zero in the dropped channels, divided by the share of kept ones elsewhere."""
        return x * self.keep.to(x) / (1 - self.rate) if self.training else x


class RecordedDropPath(nn.Module):
    """Drop path with recorded decisions, in the order of the calls."""

    def __init__(self, draws: list[tuple[float, Tensor]]) -> None:
        super().__init__()
        self.draws = draws

    def forward(self, x: Tensor) -> Tensor:
        """Branch (B, N, C) → zero where it was dropped, divided by the share of kept branches elsewhere."""
        rate, keep = self.draws.pop(0)
        return x * keep.to(x)[:, None, None] / (1 - rate)


def replay_drop_path(
    model: nn.Module, case: dict, tasks: dict, targets: dict, prefixes: dict, noise: Any = None
) -> list[Result]:
    """Losses of a training step with the recorded drop path; nothing where none was recorded."""
    record = case.get('train_drop_path')
    if record is None:
        return []
    run = copy.deepcopy(model).train()
    draws = list(zip(record['rates'], record['keep']))
    for block in list(run.backbone.body.blocks)[1:]:  # the first block's rate is zero
        block.drop_path1 = block.drop_path2 = RecordedDropPath(draws)
    losses = run.decoder.loss(features(run, inputs_of(case)), targets, noise, tuple(case['image'].shape[-2:]))
    assert not draws, 'recorded decisions are left over'
    return _losses('drop path, loss', losses, tasks, prefixes, record['loss'])


def _losses(title: str, losses: dict, tasks: dict, prefixes: dict, expected: dict) -> list[Result]:
    total = sum(losses.values()).item()
    results = [(f'{title}, total', ratio(total, expected['total']), LOSS)]
    if 'cv' in expected:
        found = losses['loss_balance'].item() / expected['balance_weight']
        results.append((f'{title}, load balance', ratio(found, expected['cv']), LOSS))
    for old, task in tasks.items():
        for published, (prefix, weight) in prefixes.items():
            key = f'{prefix}loss_{task.name}'
            if key in losses:
                found = losses[key].item() / (weight * task.loss_weight)
                results.append((f'{title}, {published}{old}', ratio(found, expected[f'{published}{old}']), LOSS))
    return results


def renamed_part(state: dict, part: dict, convert: Any, names: dict[str, str]) -> dict[str, Tensor]:
    """Some of a state's entries (gradients, statistics) under the names here; the whole state tells the tasks' order.

    Where several entries are one tensor here, those that are not in ``part`` are NaN.
    """
    marked = {k: part[k] if k in part else torch.full_like(v, torch.nan, dtype=torch.float32) for k, v in state.items()}
    return {k: v for k, v in convert(marked, names)[0].items() if not torch.isnan(v).all()}


def compare_gradients(run: nn.Module, case: dict, convert: Any, names: dict[str, str]) -> list[Result]:
    """Every recorded gradient; parameters without one there have none here."""
    record, state = case['train'], case['state_dict']
    zero = set(record['zero_grad'])
    expected = renamed_part(state, {k: v for k, v in record['grads'].items() if k not in zero}, convert, names)
    skipped = set(renamed_part(state, {k: v for k, v in record['grads'].items() if k in zero}, convert, names))
    found = {k: p.grad for k, p in run.named_parameters() if p.grad is not None}
    if extra := set(expected) - set(found):
        raise ValueError(f'recorded gradients without a gradient here: {sorted(extra)[:5]}')
    if extra := set(found) - set(expected) - skipped:
        raise ValueError(f'gradients that were not recorded: {sorted(extra)[:5]}')
    norm = float(record['grad_norm'])
    worst, at = 0.0, ''
    for key, wanted in expected.items():
        known = ~torch.isnan(wanted)
        wanted = wanted.double()[known]
        off = float((found[key].double()[known] - wanted).norm() / wanted.norm().clamp_min(SMALL * norm))
        worst, at = max((worst, at), (off, key))
    total = torch.stack([g.double().norm() for g in found.values()]).norm()
    return [
        (f'gradients, worst of {len(expected)} ({at})', worst, GRADIENT),
        ('gradient norm', ratio(total, norm), 1e-5),
    ]


def compare_statistics(run: nn.Module, case: dict, convert: Any, names: dict[str, str]) -> list[Result]:
    """Running statistics after the training step."""
    expected = renamed_part(case['state_dict'], case['train']['bn_after'], convert, names)
    state = run.state_dict()
    worst = max(
        (relative(state[k], v) for k, v in expected.items() if not k.endswith('num_batches_tracked')), default=0.0
    )
    return [(f'running statistics, worst of {len(expected)}', worst, STATISTICS)]

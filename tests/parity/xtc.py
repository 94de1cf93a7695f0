"""Replay of recorded cross-task consistency runs (MTPSL on SegNet): predictions, joint space, losses, gradients."""

from __future__ import annotations

import math
import re
import zlib

import torch
from torch import Tensor

from mmmtl.models import MultiTaskModel
from mmmtl.models.xtc.mapping import joint_label, pair_index
from mmmtl.tasks import IGNORE

from .common import GRADIENT, LOSS, OUTPUT, relative

NAMES = dict(semantic='semseg', depth='depth', normal='normals')
SETTINGS = ('onelabel', 'random', 'full')
ROUNDING = 6e-8


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded cross-task consistency run."""
    return any(isinstance(v, dict) and {'view1', 'onelabel', 'mapfns_checksum'} <= set(v) for v in data.values())


def fill(key: str, value: Tensor, prefix: str = '') -> Tensor:
    """The tensor a recorded run used under ``key``, seeded by the checksum of the prefixed key."""
    if not value.is_floating_point():
        return value
    generator = torch.Generator().manual_seed(zlib.crc32((prefix + key).encode()))
    draw = torch.randn(value.shape, generator=generator)
    last = key.rpartition('.')[2]
    if last == 'running_var':
        return 1 + 0.1 * draw.abs()
    if last == 'running_mean':
        return 0.1 * draw
    if value.ndim >= 2 and last not in ('gamma', 'beta'):
        return draw / math.sqrt(value[0].numel())
    if last == 'weight' and value.ndim == 1 or last == 'gamma':
        return 1 + 0.1 * draw
    return 0.05 * draw


def host_key(key: str) -> str | None:
    """Published name of a host parameter → ours; None: not used by the network."""
    if key == 'logsigma':
        return None
    part, name = {'0': 'conv', '1': 'norm'}, list(NAMES.values())
    if match := re.fullmatch(r'(encoder|decoder)_block\.(\d)\.([01])\.(.+)', key):
        return f'backbone.{match[1]}.{match[2]}.0.{part[match[3]]}.{match[4]}'
    if match := re.fullmatch(r'conv_block_(enc|dec)\.(\d)\.(?:(\d)\.)?([01])\.(\w+)', key):
        return f'backbone.{match[1]}oder.{match[2]}.{int(match[3] or 0) + 1}.{part[match[4]]}.{match[5]}'
    if match := re.fullmatch(r'pred_task(\d)\.([01])\.(.+)', key):
        return f'decoder.decoder.heads.{name[int(match[1]) - 1]}.{match[2]}.{match[3]}'
    raise ValueError(f"host key '{key}' has no place")


def mapping_key(key: str) -> str:
    """Published name of a parameter of the mapping network → ours."""
    name, part = list(NAMES.values()), {'0': 'conv', '1': 'norm'}
    if match := re.fullmatch(r'mapfns\.pred_encoder_source\.(\d)\.([01])\.(.+)', key):
        return f'decoder.mapping.inputs.{name[int(match[1])]}.{part[match[2]]}.{match[3]}'
    tail = key.replace('.bn.', '.norm.')
    if match := re.fullmatch(r'mapfns\.encoder_block\.(\d)\.(.+)', tail):
        return f'decoder.mapping.levels.{match[1]}.0.{match[2]}'
    if match := re.fullmatch(r'mapfns\.conv_block_enc\.(\d)\.(?:(\d)\.)?([a-z].+)', tail):
        return f'decoder.mapping.levels.{match[1]}.{int(match[2] or 0) + 1}.{match[3]}'
    raise ValueError(f"mapping key '{key}' has no place")


def build(case: dict) -> MultiTaskModel:
    """The host with its mapping network, without weights."""
    classes = case['eval']['pred'][0].shape[1]
    tasks = dict(
        semseg=dict(type='SemanticSegmentation', classes=classes),
        depth=dict(type='Depth'),
        normals=dict(type='SurfaceNormals', loss=dict(type='CosineDistance')),
    )
    shapes = case.get('state_dict')
    first, last = 64, 512
    filters = [64, 128, 256, 512, 512]
    if shapes is not None:
        filters = [shapes[f'encoder_block.{i}.0.weight'].shape[0] for i in range(5)]
        first, last = filters[0], filters[-1]
    heads = dict(type='ConvHeads', composition='sample')
    decoder = dict(type='XTC', decoder=heads, views=2, weight=2.0, feature_weight=0.5, filters=filters)
    model = MultiTaskModel(tasks, dict(type='SegNet', filters=filters), decoder)
    if model.backbone.out_channels != [first, last]:
        raise ValueError('the host does not have the recorded widths')
    return model


def load(model: MultiTaskModel, case: dict) -> None:
    """Weights of the recorded run: stored, or rebuilt by rule and held against their checksums."""
    own, state = model.state_dict(), {}
    host = case.get('state_dict') or dict.fromkeys([*case['sd_checksum'], *(_counters(case['sd_checksum']))])
    mapping = case.get('mapfns') or dict.fromkeys([*case['mapfns_checksum'], *_counters(case['mapfns_checksum'])])
    for keys, convert, sums, prefix in (
        (host, host_key, case['sd_checksum'], ''),
        (mapping, mapping_key, case['mapfns_checksum'], 'mapfns/'),
    ):
        for key, value in keys.items():
            place = convert(key)
            if place is None:
                continue
            state[place] = fill(key, own[place], prefix) if value is None else value
            if key in sums:
                total, size = sums[key]
                if abs(state[place].double().sum().item() - total) > 1e-8 * max(size, 1):
                    raise ValueError(f"'{key}' was not rebuilt as recorded")
    model.load_state_dict(state, strict=True)


def _counters(sums: dict) -> list[str]:
    return [k.replace('running_mean', 'num_batches_tracked') for k in sums if k.endswith('running_mean')]


def label_of(name: str, label: Tensor) -> Tensor:
    """Recorded labels (unknown: class -1, depth 0, zero normals) → the form labels have here."""
    if name == 'semseg':
        return torch.where(label < 0, IGNORE, label).long()
    unknown = (label.sum(1, keepdim=True) if name == 'normals' else label) == 0
    return torch.where(unknown, torch.full_like(label, math.nan), label)


def targets_of(case: dict, given: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Labels of both views of the labelled images."""
    count, targets = len(given), {}
    for i, (old, name) in enumerate(NAMES.items()):
        rows = given[:, i].nonzero().flatten()
        if len(rows):
            labels = [label_of(name, case[view][old][rows]) for view in ('view0', 'view1')]
            targets[name] = (torch.cat((rows, rows + count)), torch.cat(labels))
    return targets


def noise_of(given: Tensor, draws: list[Tensor]) -> dict[str, Tensor]:
    """Recorded Gumbel draws, in order of image, source and target, as the uniform draws they are made of."""
    names, noise, left = list(NAMES.values()), {}, list(draws)
    for image, row in enumerate(given.bool().tolist()):
        for t, target in enumerate(names):
            # classes are the first task's alone
            if t and row[t] and (not row[0] or all(row)):
                uniform = -torch.expm1(-torch.exp(-left.pop(0)))
                shape = (len(given), *uniform.shape[1:])
                noise.setdefault(f'gumbel.{names[0]}.{target}', torch.zeros(shape))[image] = uniform[0]
    if left:
        raise ValueError(f'{len(left)} recorded draws were not placed')
    return noise


def replay(data: dict) -> list[tuple[str, float, float]]:
    """``(quantity, difference, tolerance)`` of everything the runs recorded."""
    results: list[tuple[str, float, float]] = []
    for name, case in data.items():
        if name == 'meta':
            continue
        model = build(case)
        load(model, case)
        results += [(f'{name}: {q}', d, t) for q, d, t in _evaluation(model, case)]
        for setting in SETTINGS:
            load(model, case)
            results += [(f'{name}, {setting}: {q}', d, t) for q, d, t in _training(model, case, case[setting])]
    return results


def _evaluation(model: MultiTaskModel, case: dict) -> list[tuple[str, float, float]]:
    model.eval()
    count, results = len(case['images']) // 2, []
    with torch.no_grad():
        feats = model.extract(case['images'])
        raw = model.decoder.predict(feats, None, case['images'].shape[-2:])
        for i, (name, map_) in enumerate(raw.items()):
            expected = case['eval']['pred'][i]
            found = map_.log_softmax(1) if i == 0 else model.tasks[name].predict(map_) if i == 2 else map_
            best = min((relative(found[start : start + count], expected), start) for start in (0, count))
            results.append((f'eval {name}', best[0], OUTPUT))
        results.append(
            ('eval deepest map', relative(feats[1][best[1] : best[1] + count], case['eval']['feat_bottleneck']), OUTPUT)
        )
        results.append(('joint space', _joint(model, case), OUTPUT))
    return results


def _joint(model: MultiTaskModel, case: dict) -> float:
    """Worst difference of the mapping network's outputs for true labels."""
    names, worst = list(NAMES), 0.0
    for key, expected in case['eval']['map'].items():
        i, s, t = (int(n) for n in re.fullmatch(r'in(\d)_pair(\d)(\d)', key).groups())
        ours = NAMES[names[i]]
        candidates = []
        for view in ('view0', 'view1'):
            for row in range(len(case[view][names[i]])):
                label = case[view][names[i]][row : row + 1]
                # this quantity was recorded with unknown pixels as the first class, unlike the training runs
                label = label.clamp_min(0) if i == 0 else label_of(ours, label)
                found = model.decoder.mapping(
                    {ours: joint_label(model.tasks[ours], label)},
                    torch.tensor([0]),
                    torch.tensor([pair_index(s, t, len(names))]),
                )
                candidates.append(relative(found, expected))
        worst = max(worst, min(candidates))
    return worst


def _training(model: MultiTaskModel, case: dict, record: dict) -> list[tuple[str, float, float]]:
    """Differences of one recorded training step.

    The deepest maps of the recorded sizes have as few as two positions, and a norm over two positions turns
    rounding into
    signal: other convolution kernels (another CPU) move the gradients by percents. A difference past its
    tolerance is therefore held against how far the same quantity moves, in this program, when every weight is
    changed by a rounding error; it passes within three times the largest of six such moves, which are printed
    as its tolerance.
    """
    start = {k: v.clone() for k, v in model.state_dict().items()}
    found = _quantities(model, case, record)
    results = [(q, _difference(value, expected), tolerance) for q, (value, expected, tolerance) in found.items()]
    if all(d <= t for _, d, t in results):
        return results
    moved = dict.fromkeys(found, 0.0)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        model.load_state_dict(
            {
                k: v * (1 + ROUNDING * torch.randn(v.shape, generator=generator)) if v.is_floating_point() else v
                for k, v in start.items()
            }
        )
        for quantity, (value, _, _) in _quantities(model, case, record).items():
            moved[quantity] = max(moved[quantity], _difference(value, found[quantity][0]))
    return [
        (q, d, t) if d <= t else (f'{q} (rounding: {moved[q]:.0e})', d, max(t, 3 * moved[q])) for q, d, t in results
    ]


def _difference(value: Tensor, expected: Tensor) -> float:
    """Relative L2 distance."""
    return ((value - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def _quantities(model: MultiTaskModel, case: dict, record: dict) -> dict[str, tuple[Tensor, Tensor, float]]:
    """``{quantity: (found, expected, tolerance)}`` of one training step, float64."""
    given, count = record['w'], len(case['images']) // 2
    model.train()
    model.zero_grad()
    draws = noise_of(given, record['gumbel'])
    losses = model(case['images'], mode='loss', targets=targets_of(case, given), noise=draws)
    total = sum(losses.values())
    total.backward()
    values = {k: v.detach().double() for k, v in losses.items()}

    def number(x: float) -> Tensor:
        return torch.tensor(x, dtype=torch.float64)

    con = number(sum(s['con'] for s in record['per_sample']))
    found = {
        'total': (total.detach().double(), number(record['total']), LOSS),
        'consistency': (values['loss_consistency'] * count / model.decoder.weight, con, LOSS),
    }
    for i, name in enumerate(NAMES.values()):
        expected = sum(s['sup_all'][i] for s, row in zip(record['per_sample'], given) if row[i]) / count
        if expected:
            found[f'loss {name}'] = (values[f'loss_{name}'], number(expected), LOSS)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    for which, convert in (('model', host_key), ('mapfns', mapping_key)):
        norms = {convert(k): v for k, v in record[f'grad_norm_{which}'].items() if v is not None}
        largest = max(norms.values())
        for key, expected in norms.items():
            # a bias before a norm has no gradient but rounding
            if expected > 1e-5 * largest:
                norm = parameters[key].grad.double().norm()
                found[f'gradient norm of {key}'] = (norm, number(expected), GRADIENT)
    for key, expected in record['bn_after'].items():
        place = mapping_key(key[7:]) if key.startswith('mapfns.') else host_key(key)
        found[f'after the step: {key}'] = (state[place].detach().double(), expected.double(), OUTPUT)
    return found

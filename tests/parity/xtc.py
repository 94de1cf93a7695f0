"""Replay of recorded cross-task consistency runs (MTPSL on SegNet): predictions, joint space, losses, gradients."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from mmmtl.models import MultiTaskModel
from mmmtl.models.xtc.mapping import joint_label, pair_index
from mmmtl.tasks import IGNORE

from .common import (
    GRADIENT,
    LOSS,
    OUTPUT,
    ROUNDING,
    Quantity,
    Result,
    cast,
    compared,
    judged,
    nudged,
    quantity,
    relative,
)
from .xtc_derived import DERIVED, gradients

NAMES = dict(semantic='semseg', depth='depth', normal='normals')
SETTINGS = ('onelabel', 'random', 'full')
MOST = 0.1


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
    heads = dict(type='ConvHeads', loss_reduction='sample')
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
                if abs(state[place].double().sum().item() - total) > ROUNDING * max(size, 1):
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


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the runs recorded.

    The deepest maps of the recorded sizes have as few as two positions, and a norm over two positions turns rounding
    into signal: the recorded gradients themselves are off by percents where another convolution kernel ran. Their
    bounds are measured like all others, without the cap that holds elsewhere; so that an error of 1e-3 is seen all the
    same, every gradient is held against a second derivation as well (:mod:`tests.parity.xtc_derived`).
    """
    results: list[Result] = []
    for name, case in data.items():
        if name != 'meta':
            for part in ('eval', *SETTINGS):
                judgement = judged(partial(_run, case, part), cap=MOST, nudges=8)
                judgement += compared(derived(case, case[part])) if part in SETTINGS else []
                results += [(f'{name}, {part}: {q}', d, t) for q, d, t in judgement]
    return results


def derived(case: dict, record: dict) -> dict[str, Quantity]:
    """Gradients of a recorded step beside those of the second derivation, element by element, in double precision."""
    found = []
    for step in (_step, gradients):
        model = build(case)
        load(model, case)
        model.double().train()
        typed = cast({k: case[k] for k in ('images', 'view0', 'view1')}, torch.float64)
        noise = cast(noise_of(record['w'], record['gumbel']), torch.float64)
        found.append(step(model, typed['images'], targets_of(typed, record['w']), noise))
    ours, theirs = found
    largest = max(float(g.abs().max()) for g in theirs.values())
    if not theirs.keys() <= ours.keys():
        raise ValueError(f'parameters without a gradient: {sorted(theirs.keys() - ours.keys())[:5]}')
    zero = {n: torch.zeros_like(g) for n, g in ours.items()}
    return {
        f'derived gradient of {n}': quantity(g, theirs.get(n, zero[n]), DERIVED, 1e-7 * largest)
        for n, g in ours.items()
    }


def _step(model: MultiTaskModel, images: Tensor, targets: dict, noise: dict) -> dict[str, Tensor]:
    losses = model(images, mode='loss', targets=targets, noise=noise)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _run(case: dict, part: str, dtype: torch.dtype, seed: int | None) -> dict[str, Quantity]:
    model = build(case)
    load(model, case)
    model.to(dtype)
    model.load_state_dict(nudged(model.state_dict(), seed))
    typed = cast({k: case[k] for k in ('images', 'view0', 'view1')}, dtype)
    return _evaluation(model, case, typed) if part == 'eval' else _training(model, typed, case[part])


def _nearest(candidates: Sequence[Tensor], expected: Tensor) -> Tensor:
    """Which view or image a quantity was recorded of is not told; the nearest one counts."""
    return min(candidates, key=lambda found: relative(found, expected))


def _evaluation(model: MultiTaskModel, case: dict, typed: dict) -> dict[str, Quantity]:
    model.eval()
    images, record, found = typed['images'], case['eval'], {}
    count = len(images) // 2
    with torch.no_grad():
        feats = model.extract(images)
        raw = model.decoder.predict(feats, None, images.shape[-2:])
        for i, (name, map_) in enumerate(raw.items()):
            ours = map_.log_softmax(1) if i == 0 else model.tasks[name].predict(map_) if i == 2 else map_
            found[f'prediction {name}'] = quantity(
                _nearest(ours.split(count), record['pred'][i]), record['pred'][i], OUTPUT
            )
        for title, map_, expected in (
            ('deepest map', feats[1], record['feat_bottleneck']),
            ('finest map', feats[0], record['feat_decoder']),
        ):
            if expected is not None:
                found[title] = quantity(_nearest(map_.split(count), expected), expected, OUTPUT)
        for key, expected in record['map'].items():
            found[f'joint space, {key}'] = quantity(_joint(model, typed, key, expected), expected, OUTPUT)
    return found


def _joint(model: MultiTaskModel, typed: dict, key: str, expected: Tensor) -> Tensor:
    """The mapping network's output for a true label under a pair of tasks."""
    names = list(NAMES)
    i, s, t = (int(n) for n in re.fullmatch(r'in(\d)_pair(\d)(\d)', key).groups())  # type: ignore[union-attr]
    ours, candidates = NAMES[names[i]], []
    for view in ('view0', 'view1'):
        for row in range(len(typed[view][names[i]])):
            label = typed[view][names[i]][row : row + 1]
            # this quantity was recorded with unknown pixels as the first class, unlike the training runs
            label = label.clamp_min(0) if i == 0 else label_of(ours, label)
            pair = torch.tensor([pair_index(s, t, len(names))])
            given = {ours: joint_label(model.tasks[ours], label)}
            candidates.append(model.decoder.mapping(given, torch.tensor([0]), pair))
    return _nearest(candidates, expected)


def _training(model: MultiTaskModel, typed: dict, record: dict) -> dict[str, Quantity]:
    """One recorded training step."""
    given, images = record['w'], typed['images']
    count = len(images) // 2
    model.train()
    model.zero_grad()
    losses = model(images, mode='loss', targets=targets_of(typed, given), noise=noise_of(given, record['gumbel']))
    total = sum(losses.values())
    total.backward()

    def number(x: float) -> Tensor:
        return torch.tensor(x, dtype=torch.float64)

    consistency = number(sum(s['con'] for s in record['per_sample']))
    found = {
        'total': quantity(total, number(record['total']), LOSS),
        'consistency': quantity(losses['loss_consistency'] * count / model.decoder.weight, consistency, LOSS),
    }
    for i, name in enumerate(NAMES.values()):
        expected = sum(s['sup_all'][i] for s, row in zip(record['per_sample'], given) if row[i]) / count
        if expected:
            found[f'loss {name}'] = quantity(losses[f'loss_{name}'], number(expected), LOSS)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    for which, convert in (('model', host_key), ('mapfns', mapping_key)):
        norms = {convert(k): v for k, v in record[f'grad_norm_{which}'].items() if v is not None}
        largest = max(norms.values())
        for key, expected in norms.items():
            # a bias before a norm has no gradient but rounding
            if key is not None and expected > 1e-5 * largest:
                norm = parameters[key].grad.double().norm()  # type: ignore[union-attr]
                found[f'gradient norm of {key}'] = quantity(norm, number(expected), GRADIENT)
    for key, expected in record['bn_after'].items():
        place = mapping_key(key[7:]) if key.startswith('mapfns.') else host_key(key)
        found[f'after the step: {key}'] = quantity(state[str(place)].clone(), expected.double(), OUTPUT)
    return found

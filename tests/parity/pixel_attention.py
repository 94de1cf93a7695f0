"""Replay of recorded DeMT and MQTransformer heads: as published for one and two images, and image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmmtl.models.demt import DeMTConverter
from mmmtl.models.mqtransformer.converter import convert as convert_mq
from mmmtl.registry import MODELS

from .common import OUTPUT, Result
from .compared import cases_of, full_size, load, replay_training, targets_of, tasks_of, thinned

FORMS = ('authors_b1', 'authors_b2', 'per_image_b2')
METHODS: dict[str, tuple[Callable, Callable]] = {
    'demt': (lambda cfg: dict(type='DeMTDecoder', width=cfg['dim'], num_heads=cfg['heads']), DeMTConverter().convert),
    'mqtransformer': (
        lambda cfg: dict(
            type='MQTransformerDecoder', width=cfg['dim'], num_heads=cfg['heads'], num_queries=cfg['queries']
        ),
        convert_mq,
    ),
}


def recognises(data: dict) -> bool:
    """Whether ``data`` is a recorded run of one of the two."""
    return data.get('method') in METHODS


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    decoder, convert = METHODS[data['method']]
    return [
        (f'{name}, {form}: {q}', d, t)
        for name, case in cases_of(data).items()
        for form in FORMS
        if form in case
        for q, d, t in _replay(case, form, decoder, convert)
    ]


def _replay(case: dict, form: str, decoder: Callable, convert: Callable) -> list[Result]:
    cfg, batch = {**case['cfg'], 'num_output': case['cfg']['classes']}, int(form[-1])
    run: dict[str, Any] = {
        'cfg': cfg,
        'state_dict': case['state_dict'],
        'features': [x[:batch] for x in case['features']],
        'targets': {n: y[:batch] for n, y in case['targets'].items()},
    }
    tasks = tasks_of(run)
    model = nn.Module()
    model.decoder = MODELS.build(
        dict(
            **decoder(cfg),
            tasks={t.name: t for t in tasks.values()},
            in_channels=cfg['channels'],
            strides=[4, 8, 16, 32],
            mix_batch=form.startswith('authors'),
        )
    )
    load(model, run, convert, {old: t.name for old, t in tasks.items()})
    model.eval()
    record, size = case[form], tuple(cfg['size'])
    with torch.no_grad():
        full = full_size(model.decoder([x.float() for x in run['features']]), size)
    results = [
        (f'outputs, {old}', thinned(full[tasks[old].name], wanted, record['eval_stride']), OUTPUT)
        for old, wanted in record['eval'].items()
    ]
    train = record['train']
    losses = {'total': train['total']}
    for key, value in train['weighted_loss'].items():
        old = key.removesuffix('_final')
        losses[old] = value / tasks[old].loss_weight
    run['train'] = {**train, 'loss': losses}
    if train['keep']:
        _record_drops(model.decoder, train['keep'], len(tasks))
    return results + replay_training(model, run, tasks, convert, targets_of(run, tasks, 255), {'': ('', 1.0)})


class RecordedDrops(nn.Module):
    """Drop path or dropout with recorded decisions, one after the other; in evaluation nothing is dropped."""

    def __init__(self, masks: list[torch.Tensor], rate: float) -> None:
        super().__init__()
        self.masks, self.rate, self.calls = masks, rate, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A branch → zero where it was dropped, divided by the share of what is kept elsewhere."""
        if not self.training:
            return x
        mask = self.masks[self.calls].to(x)
        self.calls += 1
        return x * mask.reshape(x.shape if mask.numel() == x.numel() else mask.shape) / (1 - self.rate)


def _record_drops(decoder: nn.Module, keep: list[torch.Tensor], tasks: int) -> None:
    """Recorded masks into the decoder's drop modules; a call here covers all tasks, one there a single task."""
    encoder, (weights, *tokens), rest = keep[: 2 * tasks], keep[2 * tasks : 2 * tasks + 3], keep[2 * tasks + 3 :]
    samples = [torch.cat(encoder[i::2]) for i in range(2)] + [torch.cat(rest[i::4]) for i in range(4)]
    decoder.sample_drop = RecordedDrops(samples, decoder.sample_drop.drop_prob)
    decoder.token_drop = RecordedDrops(tokens, decoder.token_drop.drop_prob)
    dropout = decoder.cross_attention.weight_dropout
    decoder.cross_attention.weight_dropout = RecordedDrops([weights], dropout.p)

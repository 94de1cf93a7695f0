"""A latent model of the toolbox and the published StableMTL program side by side: same weights, same frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference.stablemtl import Program, TaskLayer, blocks
from mmmtl.errors import ConfigError
from mmmtl.models.stablemtl.converter import _ROLES

__all__ = ['LatentPair', 'export', 'published_program']

SCALE = 0.18215


def published_names(model: nn.Module) -> dict[str, str]:
    """Published names of the model's tasks → the model's."""
    return {task.prompt.replace(' ', '_'): name for name, task in model.tasks.items()}


def export(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """A state dict of this package under its published names.

    Args:
        state: State dict of a ``LatentMultiTaskModel``.
        names: Published task names → names in this model.

    Returns:
        Published names by part: ``unet`` (the main stream with its task attention), ``single_stream_unet`` (the
        auxiliary one) and ``vae``; parts the state dict lacks are left out.
    """
    back = {own: published for published, own in names.items()}
    parts: dict[str, dict[str, Tensor]] = {'unet': {}, 'single_stream_unet': {}, 'vae': {}}
    prefixes = {'unet.': 'unet', 'auxiliary.': 'single_stream_unet', 'autoencoder.network.': 'vae'}
    for key, value in state.items():
        for prefix, part in prefixes.items():
            if key.startswith(prefix):
                parts[part][key[len(prefix) :]] = value
        if key.startswith('task_attention.'):
            parts['unet'][_published_name(key, back)] = value
    return {part: tensors for part, tensors in parts.items() if tensors}


def _published_name(key: str, names: Mapping[str, str]) -> str:
    """Published name of one of our task-attention tensors."""
    place, rest = re.fullmatch(r'task_attention\.([^.]+)\.(.+)', key).groups()  # type: ignore[union-attr]
    place = re.sub(r'_(?=\d|attentions)', '.', place)  # down_blocks_0_attentions_1 → down_blocks.0.attentions.1
    path, _, index = re.fullmatch(r'(.+\.attentions\.\d+)((?:\.(\d+))?)', place).groups()  # type: ignore[union-attr]
    prefix = f'{path}.transformer_blocks.{index or 0}.attn1'
    if rest.startswith('out.'):
        return f'{prefix}.to_out_task.{rest[4:]}'
    role, task, kind, *tail = rest.split('.')
    short = {v: k for k, v in _ROLES.items()}[role]
    if kind == 'norm':
        return f'{prefix}.task_norm_{short}.{names[task]}.{tail[0]}'
    layer = f'net.{2 * int(tail[0])}' if short == 'q' else f'fc{int(tail[0]) + 1}'
    return f'{prefix}.task_to_{short}.{names[task]}.{layer}.{tail[1]}'


def stock(network: nn.Module) -> nn.Module:
    """A network of diffusers as diffusers builds it, with the same weights."""
    twin = type(network).from_config(network.config)
    twin.load_state_dict(network.state_dict())
    return twin.eval()


def stock_autoencoder(autoencoder: nn.Module) -> Any:
    """The autoencoder as the published program calls it, part by part."""
    if hasattr(autoencoder, 'network'):
        return stock(autoencoder.network)
    return SimpleNamespace(
        encoder=autoencoder.encode,
        quant_conv=lambda z: torch.cat([z / SCALE, torch.zeros_like(z)], 1),
        post_quant_conv=lambda z: z * SCALE,
        decoder=autoencoder.decode,
    )


def published_program(model: nn.Module) -> Program:
    """The published program with the weights of a ``LatentMultiTaskModel``."""
    names = published_names(model)
    main, child, attention = stock(model.unet), None, {}
    if model.auxiliary is not None:
        child, exported = stock(model.auxiliary), export(model.state_dict(), names)['unet']
        first = next(iter(model.task_attention.values()))
        hidden = next(iter(first.query.values())).layers[0].out_features
        for prefix, module in blocks(main).items():
            layer = TaskLayer(tuple(names), module.to_out[0].out_features, hidden, first.heads)
            layer.load_state_dict({k: exported[f'{prefix}.{k}'] for k in layer.state_dict()})
            attention[prefix] = layer.eval()

    def text(prompt: str) -> Tensor:
        return model.tokens(names[prompt.replace(' ', '_')]).detach()[None]

    palettes = [torch.tensor(t.palette, dtype=torch.float32) for t in model.tasks.values() if t.categorical]
    return Program(
        main,
        child,
        stock_autoencoder(model.autoencoder),
        text,
        attention,
        tuple(names),
        palettes[0] if palettes else None,
    )


class LatentPair:
    """A network and the published program, for ``tools/analysis_tools/benchmark.py --reference``; prediction only.

    Args:
        model: A ``LatentMultiTaskModel``; its zero-initialised output projections are drawn anew, so that the task
            attention shows.
        inputs: (B, 3, H, W) or (B, 2, 3, H, W).
        targets: Not used.
        seed: Seed of those projections.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, targets: Any = None, seed: int = 0) -> None:
        if model.training:
            raise ConfigError('the transcription of StableMTL predicts only: leave out --mode train')
        torch.manual_seed(seed)
        for layer in model.task_attention.values():
            nn.init.normal_(layer.out.weight, std=0.05)
        self.model, self.inputs, self.names = model, inputs, published_names(model)
        self.reference = published_program(model)
        frames = [inputs] if inputs.ndim == 4 else list(inputs.unbind(1))
        self.frames = [(frame + 1) * 127.5 for frame in frames]

    def draws(self) -> dict[str, Tensor]:
        """Nothing is drawn."""
        return {}

    def run_reference(self) -> dict[str, Tensor]:
        """The published program's decoded images, before each task reads them."""
        self.reference(*self.frames)
        return dict(self.reference.decoded)

    def compare_predictions(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
        """Largest difference of the decoded images, whose range is about [-1, 1]."""
        apart = [(found[own] - expected[published]).abs().max() for published, own in self.names.items()]
        return {'largest difference of decoded images': torch.stack(apart).max().item()}

    def counts(self) -> dict[str, int]:
        """What a run of the program does: images encoded and decoded, passes, texts encoded."""
        self.reference.counts = dict.fromkeys(self.reference.counts, 0)
        self.run_reference()
        return self.reference.counts

    def work(self) -> str:
        """:meth:`counts` as text."""
        return ', '.join(f'{n} x {what}' for what, n in self.counts().items())

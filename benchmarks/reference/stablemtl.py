"""StableMTL as its data flow is published: one task per call, everything encoded and projected again for each.

This is the slow, obvious derivation: for every main task the frames are encoded anew by each stream, the auxiliary
stream runs once per other task, keys and values are projected again, and nothing is batched or kept. Attention is
hooked onto diffusers' stock blocks, not written into them. It serves as the second derivation in tests (same numbers
as :mod:`mmmtl.models.stablemtl.model`) and is the baseline of ``tools/analysis_tools/benchmark.py``. Parameter names of
the task attention are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOWS = ('optical_flow', 'scene_flow')
TASKS = ('albedo', 'shading', 'depth', 'normal', 'semantic', 'optical_flow', 'scene_flow')


class KeyValueMlp(nn.Module):
    """Two linear layers."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width // 2), nn.Linear(width // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class QueryMlp(nn.Module):
    """Four linear layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TaskLayer(nn.Module):
    """The task attention of one self-attention."""

    def __init__(self, tasks: tuple[str, ...], width: int, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        for role in 'kvq':
            made = {t: QueryMlp(width, hidden) if role == 'q' else KeyValueMlp(width) for t in tasks}
            setattr(self, f'task_to_{role}', nn.ModuleDict(made))
            setattr(self, f'task_norm_{role}', nn.ModuleDict({t: nn.LayerNorm(width) for t in tasks}))
        self.to_out_task = nn.Linear(width, width)

    def forward(self, x: Tensor, task: str, features: Mapping[str, Tensor]) -> Tensor:
        query = self.task_to_q[task](self.task_norm_q[task](x))
        keys = torch.stack([self.task_to_k[s](self.task_norm_k[s](f)) for s, f in features.items()], 2)
        values = torch.stack([self.task_to_v[s](self.task_norm_v[s](f)) for s, f in features.items()], 2)
        batch, pixels, sources, width = keys.shape
        shape = (batch * pixels, -1, self.heads, width // self.heads)
        query = query.reshape(shape).transpose(1, 2)
        keys, values = keys.reshape(shape).transpose(1, 2), values.reshape(shape).transpose(1, 2)
        # the published program hands its attention library a few thousand pixels at a time
        parts = batch * pixels * self.heads // 2048 + 1
        out = [
            F.scaled_dot_product_attention(q, k, v)
            for q, k, v in zip(query.chunk(parts), keys.chunk(parts), values.chunk(parts))
        ]
        return self.to_out_task(torch.cat(out).transpose(1, 2).reshape(batch, pixels, width))


def blocks(unet: nn.Module) -> dict[str, nn.Module]:
    """Self-attentions by their published prefix."""
    return {name: module for name, module in unet.named_modules() if name.endswith('.attn1')}


class Program:
    """The published inference program.

    Args:
        main: UNet of the main stream, or of the only one.
        child: UNet of the auxiliary stream; None for the single-stream program.
        vae: ``AutoencoderKL``.
        text: Prompt → tokens (1, L, D); a callable, called as often as the program encodes text.
        attention: ``{prefix of the self-attention: TaskLayer}``.
        tasks: Published names.
        palette: (classes, 3) colours, 0..255.
    """

    def __init__(
        self,
        main: nn.Module,
        child: nn.Module | None,
        vae: nn.Module,
        text: Any,
        attention: Mapping[str, TaskLayer] | None = None,
        tasks: tuple[str, ...] = TASKS,
        palette: Tensor | None = None,
    ):
        self.main, self.child, self.vae, self.text = main, child, vae, text
        self.attention, self.tasks, self.palette = attention or {}, tasks, palette
        self.counts = dict(encoded=0, decoded=0, child=0, main=0, text=0)
        self.networks = [n for n in (main, child, *self.attention.values()) if n is not None]
        self.decoded: dict[str, Tensor] = {}

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the UNets and the task attention."""
        return [p for network in self.networks for p in network.parameters()]

    def encode(self, rgb: Tensor) -> Tensor:
        self.counts['encoded'] += len(rgb)
        moments = self.vae.quant_conv(self.vae.encoder(rgb))
        return torch.chunk(moments, 2, dim=1)[0] * 0.18215

    def decode(self, latent: Tensor) -> Tensor:
        self.counts['decoded'] += len(latent)
        return self.vae.decoder(self.vae.post_quant_conv(latent / 0.18215))

    def predict(self, image: Tensor, following: Tensor | None, task: str) -> Tensor:
        """One task, from scratch."""
        self.decoded[task] = self.decode(self.single_infer(image, following, task))
        return self.read(self.decoded[task], task)

    def prompt(self, task: str, batch: int) -> Tensor:
        self.counts['text'] += 1
        return self.text(task.replace('_', ' ')).repeat(batch, 1, 1)

    def stream_input(self, image: Tensor, following: Tensor | None, task: str) -> Tensor:
        first = self.encode(image)
        second = self.encode(following) if task in FLOWS and following is not None else first
        return torch.cat([first, second, torch.zeros_like(first)], 1)

    def run(self, unet: nn.Module, sample: Tensor, task: str) -> Tensor:
        step = torch.full((len(sample),), 999)
        return unet(sample, step, encoder_hidden_states=self.prompt(task, len(sample))).sample

    def features(self, image: Tensor, following: Tensor | None, task: str) -> dict[str, Tensor]:
        """One pass of the auxiliary stream; what its self-attentions give."""
        found: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_hook(lambda m, i, out, name=name: found.__setitem__(name, out))
            for name, module in blocks(self.child).items()
        ]
        self.counts['child'] += 1
        self.run(self.child, self.stream_input(image, following, task), task)
        for hook in hooks:
            hook.remove()
        return found

    def single_infer(self, image: Tensor, following: Tensor | None, task: str) -> Tensor:
        """The latent of one task."""
        others: dict[str, dict[str, Tensor]] = {}
        if self.child is not None:
            others = {s: self.features(image, following, s) for s in self.tasks if s != task}
        hooks = []
        for name, module in blocks(self.main).items() if others else ():
            layer = self.attention[name]

            def look(m, i, out, layer=layer, name=name):
                return out + layer(out, task, {source: table[name] for source, table in others.items()})

            hooks.append(module.register_forward_hook(look))
        self.counts['main'] += 1
        latent = self.run(self.main, self.stream_input(image, following, task), task)
        for hook in hooks:
            hook.remove()
        return latent

    @torch.no_grad()
    def __call__(self, image: Tensor, following: Tensor | None = None) -> dict[str, Tensor]:
        """All tasks of uint8-valued images (B, 3, H, W): their published return values."""
        image = image.float() / 255 * 2 - 1
        following = None if following is None else following.float() / 255 * 2 - 1
        return {task: self.predict(image, following, task) for task in self.tasks}

    def read(self, decoded: Tensor, task: str) -> Tensor:
        """The last step, by task."""
        if task in ('depth', 'shading'):
            return (decoded.mean(1, keepdim=True).clip(-1, 1) + 1) / 2
        decoded = decoded.clip(-1, 1)
        if task == 'albedo':
            return (decoded + 1) / 2
        if task == 'optical_flow':
            return decoded[:, :2]
        if task == 'normal':
            length = decoded.norm(dim=1, keepdim=True)
            return decoded / torch.where(length == 0, torch.ones_like(length), length)
        if task == 'semantic':
            colours = self.palette / 255 * 2 - 1
            pixels = decoded.permute(0, 2, 3, 1)
            return torch.cdist(pixels.reshape(-1, 3), colours).argmin(-1).reshape(pixels.shape[:-1])[:, None]
        return decoded

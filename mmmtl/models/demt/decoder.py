"""DeMT (Xu et al., "DeMT: Deformable Mixer Transformer for Multi-Task Learning of Dense Prediction", AAAI 2023).

====================  ============================================================================
name here             in the paper
====================  ============================================================================
``mixers``            deformable mixer encoder, one per task (section 3.2)
``fusion``            task interaction block (section 3.3)
``queries``           task query block: a task's features ask the fused ones (section 3.3)
====================  ============================================================================

Shapes: B images, S tasks, P = h·w pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from mmmtl.models.layers.conv_block import concat_levels
from mmmtl.models.layers.pixel_attention import PixelTokenDecoder, attend_batch, attend_tasks
from mmmtl.registry import MODELS


class DeformableMix(nn.Module):
    """A 1x1 convolution that reads every channel at a place of its own.

    The offsets are computed from a 3x3 convolution of the map plus the absolute coordinates of the 3x3 neighbours.

    Args:
        channels: C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.places = nn.Conv2d(channels, 18, 3, padding=1)
        self.offsets = nn.Conv2d(18, 2 * channels, 3, padding=1, groups=2)
        nn.init.zeros_(self.places.weight)
        conv = nn.Conv2d(channels, channels, 1)  # for its initialisation
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h, w)."""
        places = self.places(x) + _coordinates(x)
        return deform_conv2d(x, self.offsets(places), self.weight, self.bias)


def _coordinates(x: Tensor) -> Tensor:
    """(18, h, w): rows, counted from 1, of the nine neighbours of every position, then their columns."""
    height, width = x.shape[-2:]
    rows = torch.arange(1, height + 1, device=x.device, dtype=x.dtype)[:, None].expand(height, width)
    columns = torch.arange(1, width + 1, device=x.device, dtype=x.dtype)[None].expand(height, width)
    near = (-1, 0, 1)
    return torch.stack([rows + i for i in near for _ in near] + [columns + j for _ in near for j in near])


class MixerBlock(nn.Module):
    """Mix channels, then mix them at deformed places, each with GELU and BN; the second with the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pointwise, self.norm1 = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)
        self.deformable, self.norm2 = DeformableMix(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C, h, w)."""
        x = self.norm1(F.gelu(self.pointwise(x)))
        return x + self.norm2(F.gelu(self.deformable(x)))


@MODELS.register_module()
class DeMTDecoder(PixelTokenDecoder):
    """Deformable mixers per task, their tokens fused, and asked again by every task.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Levels are enlarged to the first one.
        width: C of the mixers' maps.
        depth: Mixer blocks per task.
        num_heads: Heads of the attention.
        last_only: Use the last level alone (reconstruction for ViT-L).
        mix_batch: See :class:`~mmmtl.models.layers.pixel_attention.PixelTokenDecoder`.

    Raises:
        ConfigError: A width that the heads do not divide.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        width: int = 256,
        depth: int = 1,
        num_heads: int = 4,
        last_only: bool = False,
        mix_batch: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, width, num_heads, mix_batch, init_cfg)
        self.last_only = last_only
        names, total = list(self.tasks), self.in_channels[-1] if last_only else sum(self.in_channels)
        self.reduce, self.norm = nn.Linear(total, width), nn.LayerNorm(width)
        self.mixers = nn.ModuleDict({n: nn.Sequential(*(MixerBlock(width) for _ in range(depth))) for n in names})
        self.fusion = nn.MultiheadAttention(width, num_heads)
        self.fused = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.queries = nn.ModuleDict({n: nn.MultiheadAttention(width, num_heads) for n in names})
        self.asked = nn.ModuleDict({n: nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) for n in names})
        self.add_heads(width, total // 8)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Levels → raw maps (B, C_t, h, w) on the first level's grid (the last one's with ``last_only``)."""
        feats = feats[-1:] if self.last_only else feats
        grid = feats[0].shape[-2:]
        x = self.norm(self.reduce(concat_levels(feats, grid).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)  # (B, C, h, w)
        tokens = [mixer(x).flatten(2).transpose(1, 2) for mixer in self.mixers.values()]  # (B, P, C) per task
        fused = self.fused(attend_batch(self.fusion, torch.cat(tokens, 1), self.mix_batch))
        fused = fused.unflatten(1, (len(tokens), -1))  # (B, S, P, C)
        asked = (
            u + self.asked[name](attend_tasks(self.queries[name], u, fused, self.mix_batch))
            for name, u in zip(self.tasks, tokens)
        )
        return self.read_tokens(asked, grid)

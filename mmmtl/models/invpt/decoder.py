"""InvPT (Ye and Xu, "Inverted Pyramid Multi-task Transformer for Dense Scene Understanding", ECCV 2022).

========================  ======================================================================
name here                 in the paper
========================  ======================================================================
``preliminary``           preliminary decoders (section 3.2), with supervised predictions
``mix``                   combination of preliminary features and predictions
``stages``                UP-Transformer stages (section 3.3), each with cross-scale messages (3.4)
``skips``                 encoder features added to stages 1 and 2
``project``, ``heads``    multi-scale aggregation and final predictions
========================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import Decoder, Targets
from mmmtl.models.layers.conv_block import conv_bn_relu
from mmmtl.registry import MODELS

from .stage import InvPTStage


@MODELS.register_module()
class InvPTDecoder(Decoder):
    """Inverted pyramid transformer over the preliminary features of all tasks.

    The first stage works on twice the stride of the second of three backbone levels, the others on a half and a quarter
    of that stride. A level of the stage's own stride is added as it is (3x3 convolution), one of twice the stride is
    enlarged by a transposed convolution: that fits a plain ViT (levels of stride 16, first stage 32, as published) and a
    pyramid (levels 4, 8, 16, 32, first stage 16: a reconstruction of the ResNet-18 rows of the DiffusionMTL paper).

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Four levels.
        channels: d, width of the preliminary features.
        extra_channels: Added to d in the first stage; stages have (d + this) / 1, 2 and 4 channels.
        heads: Attention heads.
        inter_weight: Weight of the preliminary predictions' losses (``inter.loss_<task>``).

    Raises:
        ConfigError: Levels whose number or strides do not fit.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 512,
        extra_channels: int = 64,
        heads: int = 2,
        inter_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(self.strides) != 4:
            raise ConfigError(
                f'InvPTDecoder needs four backbone levels, got {len(self.strides)} (strides {self.strides})'
            )
        names, depth, width = list(self.tasks), self.in_channels[-1], channels + extra_channels
        self.stride = 2 * self.strides[1]
        self.inter_weight = inter_weight
        widths = (width, width // 2, width // 4)
        outs = {name: task.out_channels for name, task in self.tasks.items()}
        self.preliminary = nn.ModuleDict(
            {n: nn.Sequential(conv_bn_relu(depth, depth), conv_bn_relu(depth, channels)) for n in names}
        )
        self.preliminary_heads = nn.ModuleDict({n: nn.Conv2d(channels, c, 1) for n, c in outs.items()})
        self.mix = nn.ModuleDict({n: nn.Conv2d(channels + c, width, 1) for n, c in outs.items()})
        self.skips = nn.ModuleList([self._skip(1, widths[1], 2), self._skip(0, widths[2], 4)])
        self.stages = nn.ModuleList(
            InvPTStage(names, widths[i - 1] if i else None, c, i, heads) for i, c in enumerate(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(len(names) * c) for c in widths)
        self.reduce = nn.ModuleList(nn.ModuleDict({n: nn.Conv2d(c, width, 1) for n in names}) for c in widths[1:])
        self.project = nn.ModuleDict({n: conv_bn_relu(width, width, bias=True) for n in names})
        self.heads = nn.ModuleDict({n: nn.Conv2d(width, c, 1) for n, c in outs.items()})
        for block in self.project.values():
            nn.init.trunc_normal_(block[0].weight, std=0.02)

    def _skip(self, level: int, channels: int, division: int) -> nn.Module:
        """Layer that brings a level to the stride of the stage it is added to."""
        stride, wanted = self.strides[level], self.stride // division
        if stride == wanted:
            return nn.Conv2d(self.in_channels[level], channels, 3, padding=1)
        if stride == 2 * wanted:
            return nn.ConvTranspose2d(self.in_channels[level], channels, 3, stride=2, padding=1, output_padding=1)
        raise ConfigError(
            f'InvPTDecoder adds level {level} to a stage of stride {wanted}; its stride is {stride}, not {wanted} or '
            f'{2 * wanted}. Levels of equal stride (a ViT) or of strides 4, 8, 16, 32 fit.'
        )

    def forward(self, feats: Sequence[Tensor], size: tuple[int, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Backbone levels → final maps (stride ``self.stride`` / 8) and preliminary maps (stride ``self.stride``).

        Raises:
            ConfigError: The input's size is no multiple of twice the first stage's stride.
        """
        multiple = 2 * self.stride
        if size[0] % multiple or size[1] % multiple:
            raise ConfigError(
                f'InvPTDecoder takes images whose height and width are multiples of {multiple}, got {size[0]}x{size[1]}'
            )
        grid = (size[0] // self.stride, size[1] // self.stride)
        x = F.interpolate(feats[-1], grid, mode='bilinear', align_corners=False)
        inter, maps = {}, []
        for name in self.tasks:
            feature = self.preliminary[name](x)
            inter[name] = self.preliminary_heads[name](feature)
            maps.append(self.mix[name](torch.cat([feature, inter[name]], 1)))
        skips = [None, self.skips[0](feats[1]), self.skips[1](feats[0])]
        final = (8 * grid[0], 8 * grid[1])
        total: dict[str, Tensor] = {}
        message = None
        for i, stage in enumerate(self.stages):
            maps, message = stage(maps, skips[i], message)
            for name, side in self._side(i, maps).items():
                side = F.interpolate(side, final, mode='bilinear', align_corners=False)
                total[name] = total[name] + side if i else side
        return {name: self.heads[name](self.project[name](y)) for name, y in total.items()}, inter

    def _side(self, index: int, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """A stage's contribution to the final features: normed over all tasks, at the width of the first stage."""
        normed = self.norms[index](torch.cat(maps, 1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        sides = dict(zip(self.tasks, normed.chunk(len(maps), 1)))
        return {n: self.reduce[index - 1][n](x) for n, x in sides.items()} if index else sides

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        raw, inter = self(feats, size)
        return {
            **self.task_losses(raw, targets, size),
            **self.task_losses(inter, targets, size, prefix='inter.', weight=self.inter_weight),
        }

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self(feats, size)[0]

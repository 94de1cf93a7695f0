"""The baseline: a convolutional branch per task on fused features, no interaction, no diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.models.layers.basic_block import BasicBlock, ResidualBranch
from mmmtl.models.layers.conv_block import concat_levels, enlarge
from mmmtl.models.layers.film import ConvBlock
from mmmtl.ops.convolution import Conv1x1
from mmmtl.registry import MODELS


class _MLPBlock(nn.Module):
    """conv3x3-BN-GELU-conv1x1, with an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.bn1(self.conv1(x))))


_BLOCKS: dict[str, type[nn.Module]] = {'basic': BasicBlock, 'mlp': _MLPBlock, 'conv': ConvBlock}
_MIXES = ('shared', 'task')


@MODELS.register_module()
class PlainDecoder(FeedForwardDecoder):
    """Multi-task baseline; with a single task, the single-task baseline.

    The levels are resized to the finest one's grid, concatenated and mixed by a 1x1 convolution; each task
    then has ``num_blocks`` blocks of its own and a prediction head. TaskDiffusion's baseline (section 4.3) is
    ``mix='task', block='conv', num_blocks=2``.

    Args:
        channels: Width of the branches. With one feature map of that width nothing is mixed.
        num_blocks: Blocks per task. The DiffusionMTL paper's baseline has 6 of kind ``basic``.
        block: ``basic`` (two 3x3 convolutions, ReLU), ``mlp`` (3x3, GELU, 1x1), both residual, or ``conv`` (``mlp``
            without the identity).
        mix: The 1x1 convolution is ``shared`` by the tasks, or each ``task`` has its own.
        upsample: Bilinear magnification before the last block.
        head_kernel: Kernel of the prediction head.
        loss_reduction: See :class:`~mmmtl.models.decoder.Decoder`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 256,
        num_blocks: int = 2,
        block: str = 'basic',
        mix: str = 'shared',
        upsample: int = 1,
        head_kernel: int = 1,
        loss_reduction: str = 'batch',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg, loss_reduction=loss_reduction)
        for name, value, known in (('block', block, sorted(_BLOCKS)), ('mix', mix, list(_MIXES))):
            if value not in known:
                raise ConfigError(f"PlainDecoder: {name} must be one of {known}, got '{value}'.{suggest(value, known)}")
        self.upsample, concatenated = upsample, sum(self.in_channels)
        self.mix: nn.Module = nn.Identity()
        if mix == 'task':
            self.mix = nn.ModuleDict({name: Conv1x1(concatenated, channels) for name in self.tasks})
        elif self.in_channels != [channels]:
            self.mix = nn.Conv2d(concatenated, channels, 1)
        self.branches = nn.ModuleDict({name: self._branch(block, channels, num_blocks) for name in self.tasks})
        self.heads = nn.ModuleDict(
            {
                n: nn.Conv2d(channels, t.out_channels, head_kernel, padding=head_kernel // 2)
                for n, t in self.tasks.items()
            }
        )

    def _branch(self, block: str, channels: int, count: int) -> nn.Module:
        if block == 'basic' and self.upsample == 1:
            return ResidualBranch(channels, count)
        return nn.ModuleList(_BLOCKS[block](channels) for _ in range(count))

    def predict_tasks(
        self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], tasks: Sequence[str]
    ) -> dict[str, Tensor]:
        return self(feats, tasks)

    def forward(self, feats: Sequence[Tensor], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Features → raw maps of ``tasks`` (default: all) on the finest level's grid, times ``upsample``."""
        size = max((f.shape[-2:] for f in feats), key=lambda s: s[0])
        shared = concat_levels(feats, size) if len(feats) > 1 else feats[0]
        if not isinstance(self.mix, nn.ModuleDict):
            shared = self.mix(shared)
        raw = {}
        for name in self.tasks if tasks is None else tasks:
            branch = self.branches[name]
            x = self.mix[name](shared) if isinstance(self.mix, nn.ModuleDict) else shared
            for i, block in enumerate([branch] if isinstance(branch, ResidualBranch) else branch):
                if self.upsample > 1 and i == len(branch) - 1:
                    x = enlarge(x, self.upsample)
                x = block(x)
            raw[name] = self.heads[name](x)
        return raw

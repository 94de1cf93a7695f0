"""The denoiser without any interaction, for the ablation of Table 3."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.film import ConvBlock
from mmmtl.ops.convolution import Conv1x1, conv1x1_of_concat
from mmmtl.registry import MODELS


@MODELS.register_module()
class TaskSpecificDenoiser(BaseModule):
    """Every task denoises for itself (section 3.3, A.1): per level two convolutional blocks of [X^l, z_t], then a 1x1
    convolution from all levels to the width of one.

    It works on the backbone's levels themselves, without conditions and hence without auxiliary heads (``aux=None``);
    the paper's has no cross-task encoding either (``label_encoder=dict(separate=[all tasks])``).

    Args:
        tasks, levels, width, noisy_channels: See :class:`CrossTaskDenoiser`.
    """

    uses_conditions = False

    def __init__(self, tasks: Sequence[str], levels: int, width: int, noisy_channels: int) -> None:
        super().__init__()

        def of_levels(make: type[nn.Module], *args: int, **options: bool) -> nn.ModuleDict:
            return nn.ModuleDict({n: nn.ModuleList(make(*args, **options) for _ in range(levels)) for n in tasks})

        self.image = of_levels(Conv1x1, width, width)
        self.noisy = of_levels(Conv1x1, noisy_channels, width, bias=False)
        self.first, self.second = of_levels(ConvBlock, width, width), of_levels(ConvBlock, width, width)
        self.fuse = nn.ModuleDict({n: Conv1x1(levels * width, width) for n in tasks})

    def encode(self, levels: Sequence[Tensor], conditions: Sequence[Sequence[Tensor]]) -> dict[str, list[Tensor]]:
        """X^l (B, E, h, w) → per task and level, the image's part of the convolution over [X^l, z_t]."""
        return {n: [conv(x) for conv, x in zip(convs, levels)] for n, convs in self.image.items()}

    def forward(self, z: Tensor, cache: dict[str, list[Tensor]], time: Tensor) -> list[Tensor]:
        """As :meth:`CrossTaskDenoiser.forward`."""
        fused = []
        for name, images in cache.items():
            maps = [image + noisy(z.to(image.dtype)) for image, noisy in zip(images, self.noisy[name])]
            for blocks in (self.first[name], self.second[name]):
                maps = [block(x, time) for block, x in zip(blocks, maps)]
            fused.append(conv1x1_of_concat(maps, self.fuse[name].weight, self.fuse[name].bias))
        return fused

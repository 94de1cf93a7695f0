"""How diffusers' blocks predict here: fewer maps alive, fewer multiplications, the same numbers.

Classes of blocks are exchanged for subclasses with other forward passes; parameters, names and training stay. A block with
options that the other forward pass does not know keeps its own.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv3x3_after_doubling
from .gemm import use_fast_linear

BAND = 2**18
"""Values of a map whose squares are summed at a time."""


class ExactGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``; on channels-last maps on a CPU, where PyTorch's kernel sums naively, as exact as elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        if (
            torch.is_grad_enabled()
            or not (last and self.affine)
            or x.device.type != 'cpu'
            or x.dtype is not torch.float32
        ):
            return super().forward(x)
        count = x.shape[2] * x.shape[3]
        means = x.mean((2, 3))
        x = x - means[:, :, None, None]
        bands = x.split(max(BAND // (x.shape[1] * x.shape[3]), 1), 2)
        squares = torch.stack([band.square().sum((2, 3)) for band in bands]).sum(0)
        apart, within = (t.unflatten(1, (self.num_groups, -1)) for t in (means, squares / count))
        apart = apart - apart.mean(-1, keepdim=True)
        variance = (within + apart.square()).mean(-1, keepdim=True)
        gain = (variance + self.eps).rsqrt().expand_as(apart).flatten(1) * self.weight
        offset = torch.addcmul(self.bias, apart.flatten(1), gain)
        return x.mul_(gain[:, :, None, None]).add_(offset[:, :, None, None])


@functools.cache
def _lean_classes() -> dict[type, type]:
    """{class of diffusers: its lean subclass}; diffusers is imported here."""
    from diffusers.models.activations import GEGLU
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    class LeanGEGLU(GEGLU):
        """Gate and product overwrite what the projection gave."""

        def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if torch.is_grad_enabled():
                return super().forward(hidden_states, *args, **kwargs)
            value, gate = self.proj(hidden_states).chunk(2, -1)
            return value.mul_(torch.ops.aten.gelu_(gate))

    class LeanResnetBlock2D(ResnetBlock2D):
        """Activations and sums overwrite maps that nobody else reads."""

        def forward(self, input_tensor: Tensor, temb: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
            if torch.is_grad_enabled() or not _plain(self):
                return super().forward(input_tensor, temb, *args, **kwargs)
            x = self.conv1(F.silu(self.norm1(input_tensor), inplace=True))
            if self.time_emb_proj is not None and temb is not None:
                x += self.time_emb_proj(temb if self.skip_time_act else F.silu(temb))[:, :, None, None]
            x = self.conv2(F.silu(self.norm2(x), inplace=True))
            return x.add_(input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor))

    class LeanUpsample2D(Upsample2D):
        """The convolution of the doubled map runs on the map before."""

        def forward(self, hidden_states: Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
            conv: Any = getattr(self, 'conv', None)
            plain = self.interpolate and self.norm is None and output_size is None and type(conv) is nn.Conv2d
            if not plain or (conv.kernel_size, conv.padding) != ((3, 3), (1, 1)):
                return super().forward(hidden_states, output_size, *args, **kwargs)
            return conv3x3_after_doubling(hidden_states, conv.weight, conv.bias)

    return {
        nn.GroupNorm: ExactGroupNorm,
        GEGLU: LeanGEGLU,
        ResnetBlock2D: LeanResnetBlock2D,
        Upsample2D: LeanUpsample2D,
    }


def _plain(block: Any) -> bool:
    """Whether a ResnetBlock2D is of the kind that Stable Diffusion has."""
    return (
        block.upsample is None
        and block.downsample is None
        and block.time_embedding_norm in ('default', 'group')
        and block.output_scale_factor == 1
        and type(block.nonlinearity) is nn.SiLU
    )


def predict_leanly(module: nn.Module) -> nn.Module:
    """Give the blocks below ``module`` (a UNet or an autoencoder of diffusers) their lean classes, in place."""
    classes = _lean_classes()
    for child in module.modules():
        child.__class__ = classes.get(type(child), type(child))
    return use_fast_linear(module)

"""How diffusers' blocks predict here: fewer maps alive, fewer multiplications, the same numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv3x3_after_doubling
from .dispatch import predicting, served
from .inference import InferenceForm, inference_form_of

BAND = 2**18
"""Values of a map whose squares are summed at a time."""


@inference_form_of(nn.GroupNorm)
class ExactGroupNorm(InferenceForm):
    """``nn.GroupNorm``; on channels-last maps on a CPU, where PyTorch's kernel sums naively, as exact as elsewhere."""

    num_groups: int
    eps: float
    weight: nn.Parameter
    bias: nn.Parameter

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether the norm has a weight and a bias."""
        return bool(module.affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → the same shape and layout."""
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        if not last or not predicting() or x.dtype is not torch.float32 or not served('group_norm', x):
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


@inference_form_of('diffusers.models.activations.GEGLU')
class InPlaceGEGLU(InferenceForm):
    """Gate and product overwrite what the projection gave."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., C) → (..., C')."""
        if not predicting():
            return super().forward(hidden_states, *args, **kwargs)
        value, gate = self.proj(hidden_states).chunk(2, -1)
        return value.mul_(torch.ops.aten.gelu_(gate))


@inference_form_of('diffusers.models.resnet.ResnetBlock2D')
class InPlaceResnetBlock(InferenceForm):
    """Activations and sums overwrite maps that nobody else reads."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether the block is of the kind that Stable Diffusion has."""
        return (
            module.upsample is None
            and module.downsample is None
            and module.time_embedding_norm in ('default', 'group')
            and module.output_scale_factor == 1
            and type(module.nonlinearity) is nn.SiLU
        )

    def forward(self, input_tensor: Tensor, temb: Tensor | None, *args: Any, **kwargs: Any) -> Tensor:
        """Map (B, C, h, w) and time embedding → (B, C', h, w)."""
        if not predicting():
            return super().forward(input_tensor, temb, *args, **kwargs)
        x = self.conv1(F.silu(self.norm1(input_tensor), inplace=True))
        if self.time_emb_proj is not None and temb is not None:
            x += self.time_emb_proj(temb if self.skip_time_act else F.silu(temb))[:, :, None, None]
        x = self.conv2(F.silu(self.norm2(x), inplace=True))
        return x.add_(input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor))


@inference_form_of('diffusers.models.upsampling.Upsample2D')
class FusedUpsample2D(InferenceForm):
    """The convolution of the doubled map runs on the map before."""

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether a doubling is followed by a 3x3 convolution and nothing else."""
        conv: Any = getattr(module, 'conv', None)
        if not module.interpolate or module.norm is not None or not isinstance(conv, nn.Conv2d):
            return False
        return (conv.kernel_size, conv.padding) == ((3, 3), (1, 1))

    def forward(self, hidden_states: Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, h, w) → (B, C', 2 h, 2 w)."""
        if output_size is not None or not predicting() or not served('upsampled_convolution', hidden_states):
            return super().forward(hidden_states, output_size, *args, **kwargs)
        return conv3x3_after_doubling(hidden_states, self.conv.weight, self.conv.bias)

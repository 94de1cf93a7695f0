"""Any timm model as a multi-level backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmmtl.errors import ConfigError, suggest
from mmmtl.ops.attention import attend, plain_is_faster
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.registry import MODELS
from mmmtl.utils.tensor_files import read_state


def resample_position_embedding(
    embedding: Tensor, old: Sequence[int], new: Sequence[int], antialias: bool = False
) -> Tensor:
    """Position embedding (1, h·w, C) of an ``old`` = (h, w) grid on a ``new`` one, bicubic.

    Without ``antialias`` (timm's modern resampler antialiases) the result is the one the published multi-task ViTs were
    trained from.
    """
    if tuple(old) == tuple(new):
        return embedding
    grid = embedding.reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, tuple(new), mode='bicubic', align_corners=False, antialias=antialias)
    return grid.flatten(2).transpose(1, 2).to(embedding.dtype)


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Multi-level features of a timm model.

    A plain ViT gives the token maps after the chosen blocks; only the map after the last block passes the final norm
    (TaskDiffusion's rule). Other models give their stages (``features_only``).

    Args:
        model_name: timm's name, for example ``vit_large_patch16_384`` or ``resnet18``.
        img_size: (H, W) of the network's input, ViT only; the position embedding is made for it.
        out_indices: Levels. ViT: block numbers from 0; default: four, evenly spaced. Others: timm's stage numbers.
        pretrained: Start training from timm's weights (needs the network or timm's cache).
        checkpoint: Start training from local weights: ``.safetensors``, ``.pth`` (for ``mobilenetv2_100`` also
            torchvision's) or, for a ViT, the original ``.npz``.
        antialias: Antialias when the position embedding is resampled.
        norm_all: Apply the final norm to every level of a ViT instead of the last one alone.
        class_token: Carry a ViT's class token through its blocks (InvPT); it is cut off from every level.
        **timm_options: More arguments of ``timm.create_model`` (``drop_path_rate=0.15``, ``embed_dim=64``, ...).

    Raises:
        ValueError: For an unknown model name (with near ones), or an input size that the patches do not divide.
    """

    def __init__(
        self,
        model_name: str,
        img_size: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        antialias: bool = False,
        norm_all: bool = False,
        class_token: bool = False,
        init_cfg: dict | None = None,
        **timm_options: Any,
    ) -> None:
        super().__init__(init_cfg)
        import timm

        if model_name.split('.')[0] not in timm.list_models():
            raise ValueError(f"timm has no model '{model_name}'.{suggest(model_name, timm.list_models())}")
        self.model_name, self.antialias, self.norm_all = model_name, antialias, norm_all
        self.is_vit = model_name.split('.')[0] in timm.list_models('vit_*')
        options = dict(timm_options)
        if self.is_vit:
            if img_size is not None:
                options['img_size'] = tuple(img_size)
            self.body = timm.create_model(model_name, num_classes=0, global_pool='', class_token=class_token, **options)
            self.is_vit = type(self.body).__name__ == 'VisionTransformer'
        if self.is_vit:
            total = len(self.body.blocks)
            self.out_indices = tuple(out_indices or [total * (i + 1) // 4 - 1 for i in range(4)])
            if max(self.out_indices) >= total:
                raise ValueError(f'{model_name} has {total} blocks, out_indices {self.out_indices} asks for more')
            # blocks after the last level asked for would be computed for nothing
            self.body.blocks = nn.Sequential(*list(self.body.blocks)[: max(self.out_indices) + 1])
            self.out_channels = [self.body.embed_dim] * len(self.out_indices)
            self.strides = [self.body.patch_embed.patch_size[0]] * len(self.out_indices)
            self.size_multiple = math.lcm(*self.body.patch_embed.patch_size)
        else:
            if out_indices is not None:
                options['out_indices'] = tuple(out_indices)
            self.body = timm.create_model(model_name, features_only=True, **options)
            if out_indices is None:  # the stem's half-resolution map is of no use to a dense decoder
                keep = [i for i, r in enumerate(self.body.feature_info.reduction()) if r >= 4]
                self.body = timm.create_model(model_name, features_only=True, **{**options, 'out_indices': tuple(keep)})
            self.out_channels = list(self.body.feature_info.channels())
            self.strides = list(self.body.feature_info.reduction())
        use_fast_linear(self.body)
        self.pretrained, self.checkpoint = pretrained, checkpoint

    def init_weights(self) -> None:
        """Load the pretrained weights: when training starts, not when the network is built."""
        super().init_weights()
        if self.pretrained or self.checkpoint:
            self.load_pretrained(self.checkpoint)

    def load_pretrained(self, checkpoint: str | None = None) -> list[str]:
        """Load timm's weights, or those of a local file; returns the keys of the file that found no place.

        Raises:
            FileNotFoundError, ValueError: Missing file; parameters of the backbone that the file does not hold.
        """
        state = _pretrained_state(self.model_name, checkpoint, self.is_vit)
        own = self.body.state_dict()
        if 'features.0.0.weight' in state and self.model_name.startswith('mobilenetv2'):
            state = _by_order(state, own)
        if self.is_vit and 'pos_embed' in state:
            prefix = int('cls_token' in state)
            first, positions = state['pos_embed'][:, :prefix], state['pos_embed'][:, prefix:]
            side = int(positions.shape[1] ** 0.5)
            state['pos_embed'] = resample_position_embedding(
                positions, (side, side), self.body.patch_embed.grid_size, self.antialias
            )
            if self.body.cls_token is not None:
                state['pos_embed'] = torch.cat([first, state['pos_embed']], 1)
        missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
        wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
        if missing or wrong:
            raise ValueError(
                f'{checkpoint or "timm weights"} do not fit {self.model_name}: {len(missing)} parameters '
                f'missing ({missing[:3]}), {len(wrong)} of another shape ({wrong[:3]})'
            )
        self.body.load_state_dict({k: state[k] for k in own if k in state}, strict=False)
        return [k for k in state if k not in own]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), normalised → a map (B, C_l, H / stride_l, W / stride_l) per level."""
        return self._forward_vit(x) if self.is_vit else tuple(self.body(x))

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) → a ViT's tokens before its first block (B, class token and patches, D), and the patch grid.

        Raises:
            ConfigError: An image size that the patches do not divide.
        """
        body, (height, width) = self.body, x.shape[-2:]
        patch = body.patch_embed.patch_size
        if height % patch[0] or width % patch[1]:
            raise ConfigError(
                f'{self.model_name} takes images whose height is a multiple of {patch[0]} and width of '
                f'{patch[1]}, got {height}x{width}'
            )
        grid = (height // patch[0], width // patch[1])
        # contiguous: otherwise every sum in the blocks keeps the convolution's layout, and every norm copies it
        tokens = body.patch_embed.proj(x).flatten(2).transpose(1, 2).contiguous()
        prefix = 0 if body.cls_token is None else 1
        positions = resample_position_embedding(
            body.pos_embed[:, prefix:], body.patch_embed.grid_size, grid, self.antialias
        )
        tokens = body.patch_embed.norm(tokens) + positions
        if prefix:
            first = (body.cls_token + body.pos_embed[:, :1]).expand(len(x), -1, -1)
            tokens = torch.cat([first, tokens], 1)
        tokens = body.norm_pre(body.pos_drop(tokens))
        return tokens, grid

    def _forward_vit(self, x: Tensor) -> tuple[Tensor, ...]:
        body, (tokens, grid) = self.body, self.embed(x)
        prefix = 0 if body.cls_token is None else 1
        levels, last = [], len(body.blocks) - 1
        plain = plain_is_faster(tokens, tokens.shape[1])
        for i, block in enumerate(body.blocks):
            with _OwnAttention() if plain else nullcontext():
                tokens = block(tokens)
            if i in self.out_indices:
                level = body.norm(tokens) if self.norm_all or i == last else tokens
                levels.append(level[:, prefix:].transpose(1, 2).reshape(len(x), -1, *grid))
        return tuple(levels)


class _OwnAttention(TorchFunctionMode):
    """Within it, timm's attention goes through :func:`~mmmtl.ops.attention.attend`."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        ours = func is F.scaled_dot_product_attention and len(args) == 3
        if ours and kwargs.get('attn_mask') is None and not (kwargs.get('dropout_p') or kwargs.get('is_causal')):
            return attend(*args)
        return func(*args, **kwargs)


def _by_order(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's MobileNetV2 under timm's names: both list the same parameters in the order of the layers."""
    pairs = list(zip(own, state.items()))
    fits = all(new.rpartition('.')[2] == old.rpartition('.')[2] for new, (old, _) in pairs)
    return {new: value for new, (_, value) in pairs} if fits else state


def _pretrained_state(model_name: str, checkpoint: str | None, is_vit: bool) -> dict[str, Tensor]:
    """State dict of timm's hub weights or of a local file."""
    import timm

    if checkpoint is None:
        try:
            return timm.create_model(model_name, pretrained=True, num_classes=0).state_dict()
        except Exception as error:  # the hub client raises many kinds
            raise RuntimeError(
                f"timm's weights of '{model_name}' could not be fetched ({type(error).__name__}). Give "
                f'a local file, model.backbone.checkpoint=PATH, or start from scratch, '
                f'model.backbone.pretrained=False'
            ) from error
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(f"backbone checkpoint '{path}' does not exist")
    if path.suffix == '.npz':
        if not is_vit:
            raise ValueError(f"'{path}': .npz weights are those of a ViT, {model_name} is none")
        model = timm.create_model(model_name, num_classes=0)
        model.load_pretrained(str(path))
        return model.state_dict()
    return read_state(path)

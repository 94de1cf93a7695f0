"""Any timm model as a multi-level backbone."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.ops.allocator import without_memory
from mmmtl.ops.attention import faster_attention
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.registry import MODELS

from .timm_weights import by_order, fitted, grid_of_positions, pretrained_state, resample_position_embedding


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Multi-level features of a timm model.

    Models whose blocks all work on one grid (ViT, DeiT, BEiT, EVA, DINOv3, XCiT, ...) give their maps after the chosen
    blocks, the others (ResNet, ConvNeXt, Swin, MaxViT, PVT, HRNet, EfficientNet, ...) those of their stages. Of maps of
    blocks only the one after the last chosen block passes the final norm (TaskDiffusion's rule). Layers after the last
    level are cut off. Levels are those of timm's ``forward_intermediates``.

    A plain ViT (``vit_*`` without register tokens) has no class token here unless it is asked for, and its position
    embedding is resampled as the published multi-task ViTs do it.

    Args:
        model_name: timm's name, for example ``vit_large_patch16_384`` or ``resnet18``.
        img_size: (H, W) of the network's input, for models that are built for a size (ViT, Swin, MaxViT, ...).
        out_indices: Levels: blocks or stages from 0, as timm numbers them; negative ones count from the end. Default:
            four blocks, evenly spaced, or the stages with a stride of at least 4.
        pretrained: Start training from timm's weights (needs the network or timm's cache).
        checkpoint: Start training from local weights: ``.safetensors``, ``.pth`` (for ``mobilenetv2_100`` also
            torchvision's) or, for a plain ViT, the original ``.npz``.
        checkpoint_grid: (rows, columns) of the position embedding in the file, where its size leaves that open.
        antialias: Antialias when a plain ViT's position embedding is resampled.
        norm_all: Apply the final norm to every level of a model of blocks instead of the last one alone.
        class_token: Carry a plain ViT's class token through its blocks (InvPT); it is cut off from every level.
        frozen: Train nothing of it: weights, statistics and drop-path stay still.
        frozen_stages: Freeze what comes before the first stage (0), and this many stages or blocks. -1: nothing.
        **timm_options: More arguments of the timm model (``drop_path_rate=0.15``, ``embed_dim=64``, ...).

    Raises:
        ConfigError: Unknown model name or argument (with near ones), levels that the model does not have, or (when it
            runs) an input size that it does not take.
    """

    def __init__(
        self,
        model_name: str,
        img_size: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        pretrained: bool = False,
        checkpoint: str | None = None,
        checkpoint_grid: Sequence[int] | None = None,
        antialias: bool = False,
        norm_all: bool = False,
        class_token: bool = False,
        frozen: bool = False,
        frozen_stages: int = -1,
        init_cfg: dict | None = None,
        **timm_options: Any,
    ) -> None:
        super().__init__(init_cfg)
        self.model_name, self.antialias, self.norm_all = model_name, antialias, norm_all
        self.pretrained, self.checkpoint, self.checkpoint_grid = pretrained, checkpoint, checkpoint_grid
        self.trained_with: tuple[tuple[float, ...], ...] = ()  # mean and std, once weights are loaded
        self.body = self._create(img_size, class_token, timm_options)
        info = list(self.body.feature_info)
        reductions = [int(level['reduction']) for level in info]
        self.of_blocks = len(info) >= 4 and len(set(reductions)) == 1 and hasattr(self.body, 'norm')
        self.out_indices = self._levels(out_indices, reductions)
        if self.plain_vit:
            self.body.blocks = nn.Sequential(*list(self.body.blocks)[: max(self.out_indices) + 1])
        else:
            self.body.prune_intermediate_layers(list(self.out_indices), prune_norm=not self.of_blocks, prune_head=True)
        self.out_channels = [int(info[i]['num_chs']) for i in self.out_indices]
        self.strides = [reductions[i] for i in self.out_indices]
        self._arguments = (img_size, class_token, timm_options)
        use_fast_linear(self.body)
        first = 0 if self.of_blocks else next((i for i, r in enumerate(reductions) if r >= 4), 0)
        self.frozen_modules = self._find_frozen(frozen, frozen_stages, [str(level['module']) for level in info[first:]])

    # ---- construction ------------------------------------------------------------------------------------------------
    def _create(self, img_size: Sequence[int] | None, class_token: bool, timm_options: dict[str, Any]) -> nn.Module:
        import timm

        name = self.model_name
        if name.split('.')[0] not in timm.list_models():
            raise ConfigError(f"timm has no model '{name}'.{suggest(name, timm.list_models())}")
        try:
            with without_memory():
                probe = timm.create_model(name, num_classes=0)
        except RuntimeError as error:
            raise ConfigError(f"model.backbone.model_name='{name}': {error}") from error
        registers = getattr(probe, 'reg_token', None) is not None
        self.plain_vit = name.startswith('vit_') and type(probe).__name__ == 'VisionTransformer' and not registers
        bases = [kind for kind in type(probe).__mro__ if kind.__module__.startswith('timm.')]
        known = {argument for kind in bases for argument in inspect.signature(kind).parameters}
        if img_size is not None and (not isinstance(img_size, Sequence) or len(img_size) != 2):
            raise ConfigError(f'model.backbone.img_size: expected (height, width) in pixels, got {img_size!r}')
        ours = [name for name in ('features_only', 'num_classes', 'checkpoint_path') if name in timm_options]
        if ours:
            raise ConfigError(
                f"model.backbone: timm's argument '{ours[0]}' has no place here: levels are chosen by out_indices, weights by "
                'pretrained or checkpoint'
            )
        options: dict[str, Any] = {}
        if img_size is not None and 'img_size' in known:
            options['img_size'] = tuple(img_size)
        if class_token and not self.plain_vit:
            raise ConfigError(f"model.backbone.class_token: '{name}' is no plain ViT; it keeps the tokens that it has")
        if self.plain_vit:
            options.update(global_pool='', class_token=class_token)
        else:
            options.update({k: v for k, v in (('dynamic_img_size', True), ('strict_img_size', False)) if k in known})
        self._usual_size = tuple(probe.default_cfg['input_size'][1:])
        try:
            return timm.create_model(name, num_classes=0, **{**options, **timm_options})
        except TypeError as error:
            wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if wrong is None:
                raise
            raise ConfigError(
                f"model.backbone: timm's {name} takes no argument '{wrong[1]}'.{suggest(wrong[1], known)} "
                'What another model took is dropped by writing the backbone anew: '
                f"model.backbone=\"dict(_delete_=True, type='TimmBackbone', model_name='{name}')\""
            ) from error

    # ---- sizes -------------------------------------------------------------------------------------------------------
    @property
    def size_multiple(self) -> int:
        """What both sides of an image are multiples of."""
        return self._sizes[0]

    @cached_property
    def fixed_size(self) -> tuple[int, int] | None:
        """The one (H, W) that the model takes; None where it takes others."""
        return self._sizes[1]

    @cached_property
    def _sizes(self) -> tuple[int, tuple[int, int] | None]:
        """Multiple and fixed size, found by trying sizes on a copy of the model that has shapes alone."""
        patch = getattr(self.body.patch_embed, 'patch_size', self.strides[0]) if self._one_grid else 1
        multiple = patch if isinstance(patch, int) else math.lcm(*patch)
        if self.plain_vit:
            return multiple, None
        with without_memory():
            body = self._create(*self._arguments).eval()
        height, width = self._arguments[0] or self._usual_size
        step = math.lcm(multiple, self.strides[-1])

        def takes(more: int) -> bool:
            image = torch.empty(1, 3, height + more, width + more, device='meta')
            try:
                with torch.no_grad():
                    body.forward_intermediates(image, indices=list(self.out_indices), intermediates_only=True)
            except (AssertionError, RuntimeError, ValueError):
                return False
            return True

        if not takes(0):  # nothing can be learned by trying
            return multiple, None
        if not takes(step):
            return multiple, (height, width)
        return (multiple if multiple > 1 or takes(1) else step), None

    @property
    def _one_grid(self) -> bool:
        return self.of_blocks or self.plain_vit

    def _levels(self, out_indices: Sequence[int] | None, reductions: Sequence[int]) -> tuple[int, ...]:
        total = len(reductions)
        if out_indices is None:
            if self.of_blocks:
                return tuple(total * (i + 1) // 4 - 1 for i in range(4))
            # the stem's half-resolution map is of no use to a dense decoder
            return tuple(i for i, r in enumerate(reductions) if r >= 4)
        if isinstance(out_indices, int) or not all(isinstance(i, int) for i in out_indices):
            raise ConfigError(
                f'model.backbone.out_indices: expected numbers of levels like (0, 1, 2, 3), got {out_indices!r}'
            )
        if not out_indices or not all(-total <= i < total for i in out_indices):
            raise ConfigError(
                f'model.backbone.out_indices: {self.model_name} has levels 0 to {total - 1} '
                f'({total} blocks or stages), got {tuple(out_indices)}'
            )
        if len({i % total for i in out_indices}) < len(out_indices):
            raise ConfigError(f'model.backbone.out_indices: a level is named twice in {tuple(out_indices)}')
        return tuple(sorted(i % total for i in out_indices))

    def _find_frozen(self, frozen: bool, stages: int, names: list[str]) -> list[nn.Module]:
        """Modules that stay in evaluation mode; their parameters are frozen here."""
        if not -1 <= stages <= len(names):
            raise ConfigError(
                f'model.backbone.frozen_stages: {self.model_name} has {len(names)} stages or blocks, got {stages}'
            )
        if frozen:
            self.requires_grad_(False)
            return [self.body]
        if stages < 0:
            return []
        every = [name for name, _ in self.body.named_modules()]
        last = names[max(stages - 1, 0)]
        within = [i for i, name in enumerate(every) if name == last or name.startswith(last + '.')]
        end = within[0] if stages == 0 else within[-1] + 1
        chosen = [n for n in every[1:end] if not last.startswith(n + '.')]
        modules = [self.body.get_submodule(n) for n in chosen]
        for parameter in self.body.parameters(recurse=False):  # tokens and positions
            parameter.requires_grad_(False)
        for module in modules:
            module.requires_grad_(False)
        return modules

    def train(self, mode: bool = True) -> TimmBackbone:
        """As usual; frozen parts stay in evaluation mode, so that statistics and drop-path stay still too."""
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        return self

    # ---- weights -----------------------------------------------------------------------------------------------------
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
        state = pretrained_state(self.model_name, checkpoint, self.plain_vit)
        own = self.body.state_dict()
        if 'features.0.0.weight' in state and self.model_name.startswith('mobilenetv2'):
            state = by_order(state, own)
        grid = getattr(getattr(self.body, 'patch_embed', None), 'grid_size', None)
        if grid is not None and 'pos_embed' in own and 'pos_embed' in state:
            state['pos_embed'] = self._positions(state, own['pos_embed'], grid, of_timm=checkpoint is None)
        if not self.plain_vit:
            state = fitted(state, self.body)
        missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
        wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
        if missing or wrong:
            raise ConfigError(
                f'{checkpoint or "timm weights"} do not fit {self.model_name}: {len(missing)} parameters '
                f'missing ({missing[:3]}), {len(wrong)} of another shape ({wrong[:3]})'
            )
        self.body.load_state_dict({k: state[k] for k in own if k in state}, strict=False)
        self.trained_with = tuple(tuple(self.body.pretrained_cfg.get(key) or ()) for key in ('mean', 'std'))
        return [k for k in state if k not in own]

    def _positions(self, state: dict[str, Tensor], own: Tensor, grid: tuple[int, int], of_timm: bool) -> Tensor:
        """The file's position embedding (1, N, C) on this network's grid, class and register tokens in front."""
        before = own.shape[1] - grid[0] * grid[1]
        stored_before = int('cls_token' in state) if self.plain_vit else before
        tokens, positions = state['pos_embed'].split([stored_before, state['pos_embed'].shape[1] - stored_before], 1)
        usual = [n // p for n, p in zip(self._usual_size, self.body.patch_embed.patch_size)]
        stated = usual if of_timm else self.checkpoint_grid
        stored = grid_of_positions(positions.shape[1], grid, usual, stated)
        moved = resample_position_embedding(positions, stored, grid, self.antialias if self.plain_vit else True)
        return torch.cat([tokens[:, :before], moved], 1)

    # ---- prediction --------------------------------------------------------------------------------------------------
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), normalised → a map (B, C_l, H / stride_l, W / stride_l) per level."""
        with faster_attention(x):
            levels = self._forward_plain_vit(x) if self.plain_vit else self._forward(x)
        found = [level.shape[1] for level in levels]
        if found != self.out_channels:
            raise ConfigError(
                f"model.backbone: timm's {self.model_name} gives levels of {found} channels where its description says "
                f'{self.out_channels}: choose other out_indices'
            )
        return levels

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        try:
            levels = self.body.forward_intermediates(
                x, indices=list(self.out_indices), norm=self.norm_all, output_fmt='NCHW', intermediates_only=True
            )
        except (AssertionError, RuntimeError) as error:
            height, width = x.shape[-2:]
            fits = (
                self.fixed_size in (None, (height, width))
                and height % self.size_multiple == width % self.size_multiple == 0
            )
            if isinstance(error, RuntimeError) and fits:  # it is about something else
                raise
            raise ConfigError(
                f"model.backbone: timm's {self.model_name} does not take images of {height}x{width} ({error}): set "
                f'model.backbone.img_size=({height}, {width}), or another size of the images'
            ) from error
        if self.of_blocks and not self.norm_all:
            levels[-1] = self.body.norm(levels[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return tuple(levels)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Images (B, 3, H, W) → a plain ViT's tokens before its first block (B, class token and patches, D), and its grid.

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
        tokens = body.patch_embed.norm(body.patch_embed.proj(x).flatten(2).transpose(1, 2).contiguous())
        prefix = 0 if body.cls_token is None else 1
        before, positions = body.pos_embed[:, :prefix], body.pos_embed[:, prefix:]
        tokens = tokens + resample_position_embedding(positions, body.patch_embed.grid_size, grid, self.antialias)
        if prefix:
            tokens = torch.cat([(body.cls_token + before).expand(x.shape[0], -1, -1), tokens], 1)
        return body.norm_pre(body.pos_drop(tokens)), grid

    def _forward_plain_vit(self, x: Tensor) -> tuple[Tensor, ...]:
        body, (tokens, grid) = self.body, self.embed(x)
        prefix = 0 if body.cls_token is None else 1
        levels, last = [], len(body.blocks) - 1
        for i, block in enumerate(body.blocks):
            tokens = block(tokens)
            if i in self.out_indices:
                level = body.norm(tokens) if self.norm_all or i == last else tokens
                levels.append(level[:, prefix:].transpose(1, 2).reshape(x.shape[0], -1, *grid))
        return tuple(levels)

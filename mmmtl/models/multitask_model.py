"""One network, many tasks: data preprocessor → backbone → neck → decoder → predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource
from mmmtl.errors import ConfigError, InputError
from mmmtl.ops.precision import to_float32
from mmmtl.ops.recompute import recomputed
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation
from mmmtl.tasks import Task, build_tasks

from .backbones.pretrained import pretrained_weights
from .base import BaseMultiTaskModel, Size


def _geometry(backbone: nn.Module) -> tuple[list[int], list[int]]:
    """Channels and strides of a backbone's levels: declared, or read off the features of a blank image."""
    channels: Any = getattr(backbone, 'out_channels', None)
    strides: Any = getattr(backbone, 'strides', None)
    if isinstance(channels, list) and isinstance(strides, list):
        return channels, strides
    training = backbone.training
    backbone.eval()
    stated = getattr(backbone, 'img_size', None)  # of a network that takes no other size (mmseg.BEiT)
    size = tuple(stated) if isinstance(stated, (tuple, list)) and len(stated) == 2 else (128, 128)
    with torch.no_grad():
        feats = backbone(next(backbone.parameters()).new_zeros(1, 3, *size))
    backbone.train(training)
    shapes: list[Any] = [tuple(f.shape) if isinstance(f, Tensor) else type(f).__name__ for f in feats]
    across = [size[0] / s[2] * s[3] / size[1] if len(s) == 4 and not isinstance(s, str) else 0.0 for s in shapes]
    if isinstance(feats, (Tensor, Mapping)) or not all(2 / 3 < share < 3 / 2 for share in across):
        raise ConfigError(
            f'model.backbone: {type(backbone).__name__} must give a tuple of maps (B, C, H / stride, W / stride), found of an '
            f'image of {size[0]}x{size[1]} a {type(feats).__name__} of {shapes}'
        )
    return [f.shape[1] for f in feats], [size[1] // f.shape[-1] for f in feats]


@MODELS.register_module()
class MultiTaskModel(BaseMultiTaskModel):
    """A backbone, an optional neck and a decoder for any set of tasks.

    Args:
        tasks: ``{name: config or Task}``.
        backbone: Config; gives a tuple of maps. Any of this package, of mmsegmentation (``mmseg.X``) or of timm.
        decoder: Config; ``tasks``, ``in_channels`` and ``strides`` are filled in.
        neck: Config; ``in_channels`` and ``strides`` are filled in.
        frames: Frames that the network looks at; default: as many as its tasks need. Features of two frames are
            concatenated. With 1, tasks of motion too are predicted from the first frame.
        second_frame: ``duplicate``: where a sample has one frame and two are needed, it stands in for the second.
            None: that is an error.
        recompute_backbone: In training compute the backbone a second time instead of keeping its maps.
        **options: Of :class:`~mmmtl.models.base.BaseMultiTaskModel`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        backbone: dict,
        decoder: dict,
        neck: dict | None = None,
        frames: int | None = None,
        second_frame: str | None = None,
        recompute_backbone: bool = False,
        **options: Any,
    ) -> None:
        if frames not in (None, 1, 2) or second_frame not in (None, 'duplicate'):
            raise ConfigError(
                f"model.frames must be 1, 2 or None, got {frames!r}; model.second_frame 'duplicate' or None, got "
                f'{second_frame!r}'
            )
        built = build_tasks(tasks)
        frames = frames or max(task.frames for task in built.values())
        super().__init__(built, frames=frames, second_frame=second_frame, **options)
        self.second_frame = second_frame
        self.backbone = MODELS.build(backbone)
        named = list(getattr(self.backbone, 'task_names', self.tasks))
        if named != list(self.tasks):
            raise ConfigError(
                f'model.backbone.tasks {named} must be those of the model in the same order, {list(self.tasks)}'
            )
        channels, strides = _geometry(self.backbone)
        channels = [c * self.frames for c in channels]
        self.neck = None
        if neck is not None:
            self.neck = MODELS.build({'in_channels': channels, 'strides': strides, **neck})
            channels, strides = self.neck.out_channels, self.neck.strides
        self.decoder = MODELS.build({'tasks': self.tasks, 'in_channels': channels, 'strides': strides, **decoder})
        self.recompute_backbone = recompute_backbone

    def init_weights(self) -> None:
        """Draw the weights, and load those that ``backbone.init_cfg`` names."""
        with pretrained_weights(self.backbone):
            super().init_weights()
        self._compare_statistics()

    def _compare_statistics(self) -> None:
        """Say in the log by what mean and deviation timm normalises images, where it is not done so here."""
        stated = getattr(self.backbone, 'trained_with', ())
        own = [x for name in ('mean', 'std') if (x := getattr(self.data_preprocessor, name, None)) is not None]
        if not stated or not all(stated) or len(own) < 2:
            return
        here, theirs = (
            [tuple(round(v, 3) for v in values) for values in of]
            for of in ([buffer.flatten().tolist() for buffer in own], stated)
        )
        if here != theirs:
            print_log(
                f'model.backbone: the weights were made for images normalised by mean={theirs[0]} and std={theirs[1]}; here '
                f'it is {here[0]} and {here[1]}. Theirs are model.data_preprocessor=dict(mean=..., std=...)',
                logger='current',
            )

    def extract(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), or frame pairs (B, 2, 3, H, W), → features; those of a pair are concatenated."""
        given = 1 if inputs.ndim == 4 else inputs.shape[1]
        if given < self.frames and self.second_frame is None:
            pairs = [name for name, task in self.tasks.items() if task.frames == 2]
            raise InputError(
                f'tasks {pairs} need two frames: inputs of (B, 2, 3, H, W), got {tuple(inputs.shape)}. Say frames=2 in '
                f"the data set, where it has pairs; or model.second_frame='duplicate', or model.frames=1"
            )
        if inputs.ndim == 5:
            inputs = inputs.transpose(0, 1)[: self.frames].flatten(0, 1)
        again = self.recompute_backbone and self.training
        feats = recomputed(self.backbone, inputs) if again else self.backbone(inputs)
        if self.frames == 2:
            feats = tuple(torch.cat(f.chunk(2) if given == 2 else (f, f), 1) for f in feats)
        return self.neck(feats) if self.neck is not None else tuple(feats)

    def loss(self, inputs: Tensor, targets: Mapping, noise: NoiseSource) -> dict[str, Tensor]:
        """Named losses, already weighted, of one batch."""
        return self.decoder.loss(self.extract(inputs), targets, noise, tuple(inputs.shape[-2:]))

    def raw_maps(self, inputs: Tensor, noise: NoiseSource, tasks: Sequence[str]) -> dict[str, Tensor]:
        """``{task: raw map (B, C, H, W)}`` at the input's size."""
        size = tuple(inputs.shape[-2:])
        feats = self.extract(inputs)
        some = len(tasks) < len(self.tasks)
        raw = (
            self.decoder.predict_tasks(feats, noise, size, tasks) if some else self.decoder.predict(feats, noise, size)
        )
        return {n: F.interpolate(to_float32(raw[n]), size, mode='bilinear', align_corners=False) for n in tasks}

    def read_maps(self, task: Task, raw: Tensor) -> Tensor:
        """Predictions (B, C, H, W) out of the raw maps (B, C, H, W) of a batch, at their own size."""
        return task.predict(raw)

    def read(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """The prediction (C, H, W) at ``size`` out of an image's raw maps (V, C, h, w) of V views."""
        views = task.resize_prediction(views, size)
        return task.predict(views)[0] if len(views) == 1 else self.from_average(task, task.to_average(views).mean(0))

    def to_average(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """Probabilities, or values and unit vectors, (V, K, H, W) at ``size``."""
        return task.to_average(task.resize_prediction(views, size))

    def from_average(self, task: Task, mean: Tensor) -> Tensor:
        """The prediction (C, H, W) out of a mean (K, H, W)."""
        return task.predict(task.from_average(mean[None]))[0]

    def explanations(self, inputs: Tensor, noise: NoiseSource, targets: Mapping | None = None) -> list[Explanation]:
        """What the decoder's ``explain(feats, noise, size, targets)`` shows.

        Raises:
            ConfigError: The decoder has no such method.
        """
        explain = getattr(self.decoder, 'explain', None)
        if explain is None:
            raise ConfigError(f'model.decoder: {type(self.decoder).__name__} cannot explain its predictions')
        return explain(self.extract(inputs), noise, tuple(inputs.shape[-2:]), targets)

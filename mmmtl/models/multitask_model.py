"""One network, many tasks: data preprocessor → backbone → neck → decoder → predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmmtl.diffusion.noise import GeneratorNoise, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError
from mmmtl.ops.precision import to_float32
from mmmtl.ops.recompute import recomputed
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation, MTLDataSample
from mmmtl.tasks import Task, build_tasks

from .tta import build_test_time


def _geometry(backbone: nn.Module) -> tuple[list[int], list[int]]:
    """Channels and strides of a backbone's levels: declared, or read off the features of a blank image."""
    channels: Any = getattr(backbone, 'out_channels', None)
    strides: Any = getattr(backbone, 'strides', None)
    if isinstance(channels, list) and isinstance(strides, list):
        return channels, strides
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        feats = backbone(next(backbone.parameters()).new_zeros(1, 3, 128, 128))
    backbone.train(training)
    return [f.shape[1] for f in feats], [128 // f.shape[-1] for f in feats]


def _unpadded(x: Tensor, padding: Sequence[int], size: tuple[int, ...]) -> Any:
    """A map (C, h, w) of an input of ``size`` without what is (left, right, top, bottom) padding, as numpy."""
    rows, columns = x.shape[-2] / size[0], x.shape[-1] / size[1]
    left, right, top, bottom = (int(p * f) for p, f in zip(padding, (columns, columns, rows, rows)))
    x = x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
    return (x.float() if x.is_floating_point() else x).cpu().numpy()


@MODELS.register_module()
class MultiTaskModel(BaseModel):
    """A backbone, an optional neck and a decoder for any set of tasks.

    Args:
        tasks: ``{name: config or Task}``.
        backbone: Config; gives a tuple of maps. Any of this package, of mmsegmentation (``mmseg.X``) or of timm.
        decoder: Config; ``tasks``, ``in_channels`` and ``strides`` are filled in.
        neck: Config; ``in_channels`` and ``strides`` are filled in.
        data_preprocessor: Config.
        noise_seed: Seed of the noise of training, and of predictions together with each sample's id.
        predict_one_by_one: In ``predict`` run every image by itself, so that no digit depends on how images were
            batched (convolution libraries choose other summation orders for other batch sizes).
        tta: In ``predict`` average over mirrored and enlarged views: ``dict(flips=..., scales=...)``, see
            :class:`mmmtl.models.tta.TestTimeAugmentation`; an empty dict for its defaults. Default: no views.
        recompute_backbone: In training compute the backbone a second time instead of keeping its maps.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        backbone: dict,
        decoder: dict,
        neck: dict | None = None,
        data_preprocessor: dict | None = None,
        noise_seed: int = 0,
        predict_one_by_one: bool = False,
        tta: Mapping[str, Any] | None = None,
        recompute_backbone: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or dict(type='MTLDataPreprocessor')), init_cfg)
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.frames = max(task.frames for task in self.tasks.values())
        self.backbone = MODELS.build(backbone)
        channels, strides = _geometry(self.backbone)
        channels = [c * self.frames for c in channels]
        self.neck = None
        if neck is not None:
            self.neck = MODELS.build({'in_channels': channels, 'strides': strides, **neck})
            channels, strides = self.neck.out_channels, self.neck.strides
        self.decoder = MODELS.build({'tasks': self.tasks, 'in_channels': channels, 'strides': strides, **decoder})
        self.noise_seed, self.predict_one_by_one = noise_seed, predict_one_by_one
        self.noise_source = GeneratorNoise(noise_seed)
        self.tta = None if tta is None else build_test_time(tta)
        self.recompute_backbone = recompute_backbone

    def extract(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), or frame pairs (B, 2, 3, H, W), → features; those of a pair are concatenated."""
        if inputs.ndim == 4 and self.frames == 2:
            pairs = [name for name, task in self.tasks.items() if task.frames == 2]
            raise ValueError(f'tasks {pairs} need two frames: inputs of (B, 2, 3, H, W), got {tuple(inputs.shape)}')
        if inputs.ndim == 5:
            inputs = inputs.transpose(0, 1)[: self.frames].flatten(0, 1)
        again = self.recompute_backbone and self.training
        feats = recomputed(self.backbone, inputs) if again else self.backbone(inputs)
        if self.frames == 2:
            feats = tuple(torch.cat(f.chunk(2), 1) for f in feats)
        return self.neck(feats) if self.neck is not None else tuple(feats)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        mode: str = 'tensor',
        targets: Mapping | None = None,
        noise: Any = None,
    ) -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W), or (B, 2, 3, H, W) where a task needs two frames.
            data_samples: One per image; predictions are written into them.
            mode: ``loss`` → named weighted losses; ``predict`` → data samples with ``pred`` at the original image size;
                ``tensor`` → ``{task: raw map (B, C, H, W)}`` at the input's size.
            targets: Labels per task as the data preprocessor gives them (``loss`` only).
            noise: ``{name: tensor}`` or a noise source replacing the default one; names are in the decoder's docstring.
        """
        if mode == 'loss':
            return self.loss(inputs, targets or {}, noise)
        if mode == 'predict':
            return self.predict(inputs, data_samples, noise)
        if mode == 'tensor':
            return self.raw_maps(inputs, data_samples, noise)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got '{mode}'")

    def loss(self, inputs: Tensor, targets: Mapping, noise: Any = None) -> dict[str, Tensor]:
        """Named losses, already weighted, of one batch."""
        noise = RecordedNoise(noise) if isinstance(noise, Mapping) else noise or self.noise_source
        return self.decoder.loss(self.extract(inputs), targets, noise, tuple(inputs.shape[-2:]))

    def raw_maps(
        self, inputs: Tensor, data_samples: Sequence[MTLDataSample] | None = None, noise: Any = None
    ) -> dict[str, Tensor]:
        """``{task: raw map (B, C, H, W)}`` at the input's size."""
        size = tuple(inputs.shape[-2:])
        noise = self._prediction_noise(inputs, data_samples, noise)
        raw = self.decoder.predict(self.extract(inputs), noise, size)
        return {n: F.interpolate(to_float32(m), size, mode='bilinear', align_corners=False) for n, m in raw.items()}

    def _views(self, inputs: Tensor, samples: Sequence[MTLDataSample], noise: Any) -> dict[str, Tensor]:
        """Raw maps (V, B, C, H, W) of the V views that are averaged; one view without test-time augmentation."""
        if self.tta is None:
            return {name: raw[None] for name, raw in self.raw_maps(inputs, samples, noise).items()}
        return self.tta(lambda view: self.raw_maps(view, samples, noise), inputs, self.tasks)

    def _prediction_noise(self, inputs: Tensor, samples: Sequence[MTLDataSample] | None, noise: Any) -> Any:
        """What was asked for, else noise seeded by the samples' ids."""
        if isinstance(noise, Mapping):
            return RecordedNoise(noise)
        if noise is not None:
            return noise
        ids = [s.metainfo.get('sample_id', str(i)) for i, s in enumerate(samples)] if samples else None
        return SampleNoise(self.noise_seed, ids or [str(i) for i in range(len(inputs))])

    @torch.no_grad()
    def explain(
        self, inputs: Tensor, data_samples: Sequence[MTLDataSample] | None = None, noise: Any = None
    ) -> list[list[Explanation]]:
        """Per image, maps that show how its prediction came about, padding cut off; arguments as in :meth:`forward`.

        Raises:
            ConfigError: The decoder has nothing to show (no method ``explain(feats, noise, size)``).
        """
        explain = getattr(self.decoder, 'explain', None)
        if explain is None:
            raise ConfigError(
                f'model.decoder: {type(self.decoder).__name__} cannot explain its predictions; TaskDiffusionDecoder can'
            )
        size = tuple(inputs.shape[-2:])
        noise = self._prediction_noise(inputs, data_samples, noise)
        explanations = explain(self.extract(inputs), noise, size)
        shown = []
        for i in range(len(inputs)):
            padding = data_samples[i].metainfo.get('padding', (0, 0, 0, 0)) if data_samples else (0, 0, 0, 0)
            shown.append([e.map(lambda x, i=i, padding=padding: _unpadded(x[i], padding, size)) for e in explanations])
        return shown

    def predict(
        self, inputs: Tensor, data_samples: Sequence[MTLDataSample] | None = None, noise: Any = None
    ) -> list[MTLDataSample]:
        """Data samples with ``pred`` at the original image size: padding cut off, then resized back if need be."""
        samples = (
            list(data_samples)
            if data_samples
            else [MTLDataSample(metainfo=dict(sample_id=str(i))) for i in range(len(inputs))]
        )
        if self.predict_one_by_one and len(samples) > 1 and noise is None:
            return [self.predict(inputs[i : i + 1], samples[i : i + 1])[0] for i in range(len(samples))]
        raw = self._views(inputs, samples, noise)
        for i, sample in enumerate(samples):
            left, right, top, bottom = sample.metainfo.get('padding', (0, 0, 0, 0))
            prediction = {}
            for name, task in self.tasks.items():
                full = raw[name][:, i]
                full = full[..., top : full.shape[-2] - bottom, left : full.shape[-1] - right]
                full = task.resize_prediction(full, tuple(sample.metainfo.get('ori_shape', full.shape[-2:])))
                if len(full) > 1:
                    full = task.average(full[:, None])
                prediction[name] = task.predict(full)[0]
            sample.pred = prediction
        return samples

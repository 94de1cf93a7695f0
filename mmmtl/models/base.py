"""What every model shares: modes, noise, padding, prediction one by one and over several views, explanations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmmtl.diffusion.noise import GeneratorNoise, NoiseSource, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError, InputError, suggest
from mmmtl.ops.precision import check_dtype, in_dtype, to_float32
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation, MTLDataSample
from mmmtl.tasks import Task, build_tasks
from mmmtl.utils.late import late

from .data_preprocessor import IMAGENET_MEAN, IMAGENET_STD, MTLDataPreprocessor
from .tta import TestTimeAugmentation, build_test_time

Size = tuple[int, int]
Reader = Callable[[Task, Tensor, Size], Tensor]
"""Raw maps (V, C, h, w) of an image's views → a prediction (C, H, W): :meth:`BaseMultiTaskModel.read`, or a mean over time
or over noise seeds (:mod:`mmmtl.models.ensemble`)."""


class BaseMultiTaskModel(BaseModel):
    """A model for any set of tasks.

    A subclass gives :meth:`loss`, :meth:`raw_maps`, :meth:`read_maps`, :meth:`read`, :meth:`to_average` and
    :meth:`from_average`; what it wants of images stands in ``image_mean`` and ``image_std``, and becomes the data
    preprocessor's.

    Args:
        tasks: ``{name: config or Task}``.
        data_preprocessor: Config; default: ``MTLDataPreprocessor``.
        frames: Frames of a sample that the model looks at; None: as many as its tasks need, or as come.
        second_frame: What stands in for a second frame that is missing; ``duplicate``: the first.
        noise_seed: Seed of the noise of training, and of predictions together with each sample's id.
        predict_one_by_one: In ``predict`` run every image by itself, so that no digit depends on how images were
            batched (convolution libraries choose other summation orders for other batch sizes).
        predict_labelled: In ``predict`` give every sample predictions of the tasks it has labels for, and no others:
            all that an evaluation needs.
        predict_dtype: ``fp32``, or ``bf16`` or ``fp16``: in predictions, convolutions and matrix products are computed in
            half precision; norms, sampling steps and predictions stay in single precision.
        tta: In ``predict`` average over mirrored and enlarged views: ``dict(flips=..., scales=...)``, see
            :class:`mmmtl.models.tta.TestTimeAugmentation`; an empty dict for its defaults. Default: no views.
    """

    image_mean: Sequence[float] = IMAGENET_MEAN
    """Per RGB channel, of values in [0, 1]; with ``image_std``, what images are normalised by."""
    image_std: Sequence[float] = IMAGENET_STD

    from_pretrained = classmethod(late('mmmtl.hub.pretrained:of_class'))
    save_pretrained = late('mmmtl.hub.pretrained:save_pretrained')
    push_to_hub = late('mmmtl.hub.pretrained:push_to_hub')

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_preprocessor: dict | None = None,
        frames: int | None = None,
        second_frame: str | None = None,
        noise_seed: int = 0,
        predict_one_by_one: bool = False,
        predict_labelled: bool = False,
        predict_dtype: str = 'fp32',
        tta: Mapping[str, Any] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        second = 'duplicate' if second_frame else None
        wanted = dict(mean=self.image_mean, std=self.image_std, frames=frames, second_frame=second)
        super().__init__(build_data_preprocessor(data_preprocessor, wanted), init_cfg)
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.frames = frames or max(task.frames for task in self.tasks.values())
        self.noise_seed, self.noise_source = noise_seed, GeneratorNoise(noise_seed)
        self.predict_one_by_one, self.predict_labelled = predict_one_by_one, predict_labelled
        self.predict_dtype = check_dtype(predict_dtype)
        self.tta: TestTimeAugmentation | None = None if tta is None else build_test_time(tta)

    # ---- what a subclass gives -------------------------------------------------------------------------------------
    @abstractmethod
    def loss(self, inputs: Tensor, targets: Mapping, noise: NoiseSource) -> dict[str, Tensor]:
        """Named losses, already weighted, of one batch."""

    @abstractmethod
    def raw_maps(self, inputs: Tensor, noise: NoiseSource, tasks: Sequence[str]) -> dict[str, Tensor]:
        """``{task: raw map (B, C, H, W)}`` at the input's size."""

    @abstractmethod
    def read_maps(self, task: Task, raw: Tensor) -> Tensor:
        """Predictions (B, C, H, W) out of the raw maps (B, C, H, W) of a batch, at their own size."""

    @abstractmethod
    def read(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """The prediction (C, H, W) at ``size`` out of an image's raw maps (V, C, h, w) of V views."""

    @abstractmethod
    def to_average(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """What of an image's raw maps (V, C, h, w) may be averaged, (V, K, H, W) at ``size``."""

    @abstractmethod
    def from_average(self, task: Task, mean: Tensor) -> Tensor:
        """The prediction (C, H, W) out of a mean (K, H, W) of what :meth:`to_average` gave."""

    def view_back(self, task: Task, raw: Tensor, size: Size) -> Tensor:
        """A raw map (B, C, h, w) of an enlarged view on the grid of the image."""
        return task.resize_prediction(raw, size)

    def flip_back(self, task: Task, raw: Tensor, direction: str) -> Tensor:
        """A raw map (B, C, h, w) of a mirrored view as one of the image."""
        return task.flip(raw, direction)

    def explanations(self, inputs: Tensor, noise: NoiseSource, targets: Mapping | None = None) -> list[Explanation]:
        """Maps (B, C, h, w) that show how the predictions of a batch came about, beside those of labels if there are any."""
        raise ConfigError(f'model: {type(self).__name__} cannot explain its predictions')

    # ---- modes -----------------------------------------------------------------------------------------------------
    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        mode: str = 'tensor',
        targets: Mapping | None = None,
        noise: Any = None,
        tasks: Sequence[str] | None = None,
    ) -> Any:
        """Run the network.

        Args:
            inputs: (B, 3, H, W), or (B, 2, 3, H, W) for pairs of frames, normalised.
            data_samples: One per image; predictions are written into them.
            mode: ``loss`` → named weighted losses; ``predict`` → data samples with ``pred`` at the original image size;
                ``tensor`` → ``{task: raw map (B, C, H, W)}`` at the input's size.
            targets: Labels per task as the data preprocessor gives them in training (``loss`` only, which needs them).
            noise: ``{name: tensor}`` or a noise source replacing the default one; names are in the docstrings of what
                draws (a decoder, a latent model).
            tasks: Predict these only.

        Raises:
            InputError: ``loss`` without ``targets``, another mode, or tasks that the model does not have.
        """
        noise = RecordedNoise(noise) if isinstance(noise, Mapping) else noise
        if mode == 'loss':
            if targets is None:
                raise InputError(
                    "mode='loss' without targets: they are what model.data_preprocessor(batch, training=True) makes of the "
                    "batch's data_samples; {} where nobody is labelled"
                )
            known = {name: labels for name, labels in targets.items() if name in self.tasks}  # data may have more tasks
            return self.loss(inputs, known, noise or self.noise_source)
        if mode == 'predict':
            return self.predict(inputs, data_samples, noise, tasks)
        if mode == 'tensor':
            return self._raw_maps(inputs, noise or self._sample_noise(inputs, data_samples), self._names(tasks))
        raise InputError(f"mode must be 'loss', 'predict' or 'tensor', got '{mode}'")

    def _sample_noise(self, inputs: Tensor, samples: Sequence[MTLDataSample] | None) -> NoiseSource:
        """Noise seeded by the samples' ids."""
        ids = [s.metainfo.get('sample_id', str(i)) for i, s in enumerate(samples)] if samples else None
        return SampleNoise(self.noise_seed, ids)

    def predict(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        noise: NoiseSource | None = None,
        tasks: Sequence[str] | None = None,
        reader: Reader | None = None,
    ) -> list[MTLDataSample]:
        """Data samples with ``pred`` at the original image size: padding cut off, then resized back if need be.

        Args:
            inputs, data_samples, noise, tasks: See :meth:`forward`.
            reader: Makes the predictions instead of :meth:`read`.
        """
        samples = list(data_samples or [MTLDataSample(metainfo=dict(sample_id=str(i))) for i in range(len(inputs))])
        if self.predict_one_by_one and len(samples) > 1 and noise is None:
            return [
                self.predict(inputs[i : i + 1], samples[i : i + 1], None, tasks, reader)[0] for i in range(len(samples))
            ]
        noise = noise or self._sample_noise(inputs, samples)
        wanted = [self._wanted(sample, tasks) for sample in samples]
        names = [name for name in self.tasks if any(name in own for own in wanted)]
        views = self._views(inputs, noise, names) if names else {}
        for i, sample in enumerate(samples):
            sample.pred = self.read_sample({name: views[name][:, i] for name in wanted[i]}, sample, reader)
        return samples

    def read_sample(
        self, views: Mapping[str, Tensor], sample: MTLDataSample, reader: Reader | None = None
    ) -> dict[str, Tensor]:
        """Raw maps ``{task: (V, C, h, w)}`` of an image's V views → predictions (C, H, W) at its original size."""
        left, right, top, bottom = sample.metainfo.get('padding') or (0, 0, 0, 0)
        prediction = {}
        for name, full in views.items():
            full = full[..., top : full.shape[-2] - bottom, left : full.shape[-1] - right]
            size = tuple(sample.metainfo.get('ori_shape', full.shape[-2:]))
            prediction[name] = (reader or self.read)(self.tasks[name], full, size)
        return prediction

    def predict_stream(
        self,
        frames: Iterable[tuple[Tensor, MTLDataSample]],
        tasks: Sequence[str] | None = None,
        reader: Reader | None = None,
    ) -> Iterator[MTLDataSample]:
        """Data samples with ``pred``, one for every frame of a video, as the frames come.

        A model that looks at two frames gets each with the next, and the last one twice.

        Args:
            frames: Normalised images (1, 3, H, W) in order, each with its data sample.
            tasks, reader: See :meth:`predict`.
        """
        held: tuple[Tensor, MTLDataSample] | None = None
        for image, sample in frames:
            if self.frames == 1:
                yield self.predict(image, [sample], None, tasks, reader)[0]
                continue
            if held is not None:
                yield self.predict(torch.stack([held[0], image], 1), [held[1]], None, tasks, reader)[0]
            held = image, sample
        if held is not None:
            yield self.predict(torch.stack([held[0], held[0]], 1), [held[1]], None, tasks, reader)[0]

    def _names(self, tasks: Sequence[str] | None) -> list[str]:
        """The tasks that are asked for; all where none are named."""
        names = list(self.tasks if tasks is None else tasks)
        if unknown := [name for name in names if name not in self.tasks]:
            raise InputError(
                f"tasks: the model has no '{unknown[0]}', only {list(self.tasks)}.{suggest(unknown[0], self.tasks)}"
            )
        return names

    def _wanted(self, sample: MTLDataSample, tasks: Sequence[str] | None) -> list[str]:
        """Tasks that a sample gets predictions of."""
        names = self._names(tasks)
        return [n for n in names if n in sample.gt] if self.predict_labelled and 'gt' in sample else names

    def _raw_maps(self, inputs: Tensor, noise: NoiseSource, names: Sequence[str]) -> dict[str, Tensor]:
        """Raw maps in single precision, computed in the precision of predictions."""
        with in_dtype(inputs, self.predict_dtype):
            return {name: to_float32(raw) for name, raw in self.raw_maps(inputs, noise, names).items()}

    def _views(self, inputs: Tensor, noise: NoiseSource, names: Sequence[str]) -> dict[str, Tensor]:
        """Raw maps (V, B, C, H, W) of the V views that are averaged; one view without test-time augmentation."""
        if self.tta is None:
            return {name: raw[None] for name, raw in self._raw_maps(inputs, noise, names).items()}
        tasks = {name: self.tasks[name] for name in names}
        return self.tta(lambda view: self._raw_maps(view, noise, names), inputs, tasks, self.view_back, self.flip_back)

    @torch.no_grad()
    def explain(
        self,
        inputs: Tensor,
        data_samples: Sequence[MTLDataSample] | None = None,
        noise: Any = None,
        targets: Mapping | None = None,
    ) -> list[list[Explanation]]:
        """Per image, maps that show how its prediction came about, padding cut off; arguments as in :meth:`forward`.

        Raises:
            ConfigError: The model has nothing to show.
        """
        noise = RecordedNoise(noise) if isinstance(noise, Mapping) else noise
        with in_dtype(inputs, self.predict_dtype):
            found = self.explanations(inputs, noise or self._sample_noise(inputs, data_samples), targets)
        shown = []
        for i in range(len(inputs)):
            padding = (data_samples[i].metainfo.get('padding') if data_samples else None) or (0, 0, 0, 0)
            size = inputs.shape[-2:]
            shown.append([e.map(lambda x: _unpadded(x[i], padding, size)) for e in found])  # noqa: B023 - called at once
        return shown


def build_data_preprocessor(config: dict | None, wanted: Mapping[str, Any]) -> Any:
    """The data preprocessor of a config, with what the model wants where the config does not say otherwise."""
    config = {'type': 'MTLDataPreprocessor', **(config or {})}
    kind = config.get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and issubclass(kind, MTLDataPreprocessor):
        config = {**wanted, **config}
    return MODELS.build(config)


def _unpadded(x: Tensor, padding: Sequence[int], size: Sequence[int]) -> Any:
    """A map (C, h, w) of an input of ``size`` without what is (left, right, top, bottom) padding, as numpy."""
    rows, columns = x.shape[-2] / size[0], x.shape[-1] / size[1]
    left, right, top, bottom = (int(p * f) for p, f in zip(padding, (columns, columns, rows, rows)))
    x = x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
    return (x.float() if x.is_floating_point() else x).cpu().numpy()

"""The network as a pure function of tensors: images and noise in, a map per task out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError
from mmmtl.models.base import BaseMultiTaskModel
from mmmtl.models.data_preprocessor import MTLDataPreprocessor
from mmmtl.ops.precision import to_float32

Size = tuple[int, int]
SAMPLE_ID = '0'
"""Noise that is baked into a program is that of a sample of this name, for every image."""


class DrawnNoise(NoiseSource):
    """Passes draws on and keeps them.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: NoiseSource) -> None:
        self.source = source
        self.draws: dict[str, Tensor] = {}

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        raise NotImplementedError  # both draws are passed on

    def normal(self, name: str, shape: Sequence[int], like: Tensor, index: Tensor | None = None) -> Tensor:
        """As the source."""
        self.draws[name] = draw = self.source.normal(name, shape, like, index)
        return draw

    def uniform(
        self, name: str, shape: Sequence[int], low: float, high: float, like: Tensor, index: Tensor | None = None
    ) -> Tensor:
        """As the source."""
        self.draws[name] = draw = self.source.uniform(name, shape, low, high, like, index)
        return draw


class Program(nn.Module):
    """What is exported: normalisation, network, and the tasks' reading of the raw maps, with no random number inside.

    The network itself is used, not a copy: its own modules make the maps, as in every prediction.

    Args:
        model: A model in evaluation mode.
        size: (H, W) of the images.
        raw: Give raw maps (B, C, H, W) instead of predictions in the tasks' units.
        noise: ``input``: what the network draws comes in by name; ``seed``: it is drawn once, by the model's
            ``noise_seed``, and is the same for every image.

    Attributes:
        noise_shapes: ``{name: shape of one image's draw}``, in the order of drawing.

    Raises:
        ConfigError: A model, or an option of it, that no pure function stands for.
    """

    def __init__(self, model: BaseMultiTaskModel, size: Size, raw: bool = False, noise: str = 'input') -> None:
        super().__init__()
        check_model(model)
        self.model, self.size, self.raw = model, size, raw
        self.task_names = list(model.tasks)
        draws = self._one_image_draws()
        self.noise_shapes = {name: tuple(draw.shape[1:]) for name, draw in draws.items()}
        self.baked = noise == 'seed'
        self._places = {name: f'noise_{i}' for i, name in enumerate(draws)}
        if self.baked:
            for name, place in self._places.items():
                self.register_buffer(place, draws[name])

    def _one_image_draws(self) -> dict[str, Tensor]:
        """What the network draws for the image :data:`SAMPLE_ID`."""
        noise = DrawnNoise(SampleNoise(self.model.noise_seed, [SAMPLE_ID]))
        parameter = next(self.model.parameters())
        with torch.no_grad():
            self.model.raw_maps(parameter.new_zeros(1, *self.image_shape), noise, self.task_names)
        return {name: draw.float() for name, draw in noise.draws.items()}

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(3, H, W), or (2, 3, H, W) of a model that looks at two frames."""
        pair = (2,) if self.model.frames == 2 else ()
        return (*pair, self.model.data_preprocessor.channels, *self.size)

    def normalize(self, image: Tensor) -> Tensor:
        """Images of 0..255 as the network wants them; those that the pipeline normalises stay as they are."""
        pre = self.model.data_preprocessor
        return (image.float() / 255 - pre.mean) / pre.std if pre.normalizes else image.float()

    def forward(self, image: Tensor, noise: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Predict.

        Args:
            image: (B, 3, H, W) or (B, 2, 3, H, W), uint8 or float, RGB of 0..255.
            noise: ``{name: (B, ...)}``, standard normal; without it what was baked in.

        Returns:
            ``{task: map (B, C, H, W)}``: float32; class maps int64 with C = 1.
        """
        if self.baked:
            noise = {
                n: getattr(self, p)[:1].expand(image.shape[0], *[-1] * len(self.noise_shapes[n]))
                for n, p in self._places.items()
            }
        raw = self.model.raw_maps(self.normalize(image), RecordedNoise(noise or {}), self.task_names)
        raw = {name: to_float32(x) for name, x in raw.items()}
        return raw if self.raw else {n: self.model.read_maps(self.model.tasks[n], x) for n, x in raw.items()}


def check_model(model: nn.Module) -> None:
    """Raise :class:`ConfigError` at a model that cannot become a :class:`Program`."""
    if not isinstance(model, BaseMultiTaskModel):
        raise ConfigError(
            f'export takes models of this toolbox, got {type(model).__name__}: write yours as a subclass of '
            f'mmmtl.models.base.BaseMultiTaskModel'
        )
    if not isinstance(model.data_preprocessor, MTLDataPreprocessor):
        raise ConfigError(
            f"model.data_preprocessor: export puts the images' normalisation into the file and knows that of "
            f'MTLDataPreprocessor alone, got {type(model.data_preprocessor).__name__}'
        )
    if model.tta is not None:
        raise ConfigError(
            'model.tta: an exported file predicts from one view of an image. Export without it '
            '(--cfg-options model.tta=None), and run the file on every view'
        )

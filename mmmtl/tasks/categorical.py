"""Tasks whose label is a class per pixel: int64 (H, W), 255 where unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError, LabelError
from mmmtl.utils.labels import IGNORE

from .base import Legend, Task, stripe_unknown
from .picture_code import nearest_colour, scaled_palette, share_between
from .spread import entropy_share


def default_palette(count: int) -> list[tuple[int, int, int]]:
    """``count`` distinct colours: the hue turns by the golden angle, lightness and saturation alternate."""
    import colorsys

    colours = []
    for i in range(count):
        red, green, blue = colorsys.hls_to_rgb(
            (0.58 + i * 0.61803398875) % 1.0, (0.42, 0.6, 0.5)[i % 3], (0.55, 0.7)[i % 2]
        )
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


class CategoricalTask(Task):
    """A class per pixel.

    Label: int64 (H, W), 0 .. ``num_classes`` - 1, 255 = unknown. Raw output: (B, ``num_classes``, H, W) logits.
    Prediction: int64 (B, 1, H, W) class ids.

    Args:
        classes: Class names, or their number.
        palette: ``(r, g, b)`` per class; default: generated.
    """

    categorical = True
    greater_is_better = True
    label_channels = 1

    def __init__(
        self,
        name: str | None = None,
        *,
        classes: Sequence[str] | int | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        if classes is None:
            raise ConfigError(f"task '{self.name}': give classes, a list of names or their number")
        if isinstance(classes, (str, Mapping, set, frozenset, float, bool)) or (
            not isinstance(classes, int) and len(set(classes)) < len(classes)
        ):
            raise ConfigError(
                f"task '{self.name}': classes must be a list of different names in the order of their numbers, or how many "
                f'there are, got {classes!r:.200}'
            )
        self.classes = [f'class {i}' for i in range(classes)] if isinstance(classes, int) else list(classes)
        if not 1 < len(self.classes) <= IGNORE:
            raise ConfigError(
                f"task '{self.name}': classes must be 2 to {IGNORE}, the background being one of them, got "
                f'{len(self.classes)}'
            )
        colours = palette or default_palette(len(self.classes))
        for colour in colours:
            if isinstance(colour, str) or len(colour) != 3 or any(v != int(v) or not 0 <= v <= 255 for v in colour):
                raise ConfigError(
                    f"task '{self.name}': a colour of palette is three whole numbers (r, g, b) in 0..255, got {colour!r}"
                )
        self.palette: list[tuple[int, int, int]] = [(int(r), int(g), int(b)) for r, g, b in colours]
        if len(self.palette) != len(self.classes):
            raise ConfigError(
                f"task '{self.name}': {len(self.classes)} classes but {len(self.palette)} palette colours"
            )
        self.num_classes = self.out_channels = self.code_classes = len(self.classes)

    def check_label(self, label: np.ndarray, where: str) -> None:
        if label.ndim != 2 or not np.issubdtype(label.dtype, np.integer):
            raise LabelError(
                f"{where}: task '{self.name}' expects an integer map (H, W), found {label.dtype} {label.shape}"
            )
        wrong = (label >= self.num_classes) & (label != IGNORE)
        if label.dtype.kind == 'i':
            wrong |= label < 0
        if wrong.any():  # comparing is several times faster than listing all values
            raise LabelError(
                f"{where}: task '{self.name}' expects classes 0..{self.num_classes - 1} or {IGNORE} (unknown), "
                f'found {np.unique(label[wrong])[:8].tolist()}'
            )

    def valid(self, label: Any) -> Any:
        return label != IGNORE

    def blank(self, size: tuple[int, int]) -> np.ndarray:
        return np.full(size, IGNORE, np.int64)

    @property
    def pad_value(self) -> float:
        return IGNORE

    def default_loss(self) -> dict:
        return dict(type='CrossEntropy')

    def predict(self, logits: Tensor) -> Tensor:
        # the maximum along the last axis is several times faster on a CPU than along the channels
        return logits.permute(0, 2, 3, 1).max(-1).indices[:, None]

    def to_average(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.out_channels == 1 else logits.softmax(1)

    def from_average(self, mean: Tensor) -> Tensor:
        return mean.logit(1e-7) if self.out_channels == 1 else mean.clamp_min(1e-12).log()

    spread_unit, spread_limit = 'entropy (share of the largest)', 1.0

    def spread(self, mean: Tensor, variance: Tensor) -> Tensor:
        return entropy_share(mean)

    def code_label(self, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        small = F.interpolate(label[:, None].float(), size, mode='nearest')[:, 0].long()
        return torch.where(small == IGNORE, self.num_classes, small), None

    def code_logits(self, logits: Tensor) -> Tensor:
        return self.predict(logits)[:, 0]

    def image_colours(self, like: Tensor) -> Tensor:
        """(``num_classes``, 3) colours of the classes in [-1, 1].

        Raises:
            ConfigError: Two classes share a colour.
        """
        if len(set(self.palette)) < len(self.palette):
            twice = next(c for i, c in enumerate(self.palette) if c in self.palette[:i])
            names = [n for n, c in zip(self.classes, self.palette) if c == twice]
            raise ConfigError(
                f"task '{self.name}': the classes {names} share the colour {twice}; a picture cannot tell "
                f'them apart. Give them different colours in palette'
            )
        return scaled_palette(self.palette, like)

    def to_image(self, label: Tensor) -> tuple[Tensor, Tensor]:
        known = self.valid(label)[:, None]
        colours = self.image_colours(label)
        table = torch.cat([colours, colours.new_full((1, 3), -1.0)])  # unknown pixels are black
        index = torch.where(known[:, 0], label, self.num_classes).long()
        return table[index].permute(0, 3, 1, 2).contiguous(), known

    def from_image(self, image: Tensor) -> Tensor:
        return nearest_colour(image.clamp(-1, 1), self.image_colours(image))

    def image_share(self, image: Tensor) -> Tensor:
        """Probability (B, 1, H, W) of the second of two classes, by where a colour lies between the two colours."""
        return share_between(image.clamp(-1, 1), *self.image_colours(image)[:2])

    def default_regions(self) -> dict:
        own = None if self.out_channels == self.num_classes else dict(type='CrossEntropy')
        return dict(type='ClassRegions', classes=self.num_classes, loss=own)

    def default_metric(self) -> dict:
        return dict(type='MeanIoU', num_classes=self.num_classes, classes=self.classes)

    def constant_predictions(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.array([i], np.int64) for i in range(self.num_classes)]

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        label = np.asarray(label).reshape(np.shape(label)[-2:])
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        return stripe_unknown(table[label.astype(np.uint8)], (label < 0) | (label >= self.num_classes))

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        seen = set(np.unique(label).tolist()) | (set(np.unique(reference).tolist()) if reference is not None else set())
        return Legend(entries=[(n, c) for i, (n, c) in enumerate(zip(self.classes, self.palette)) if i in seen])

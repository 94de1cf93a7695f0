"""What a task is: everything the toolbox has to know about one kind of map, in one object.

Nothing outside this room branches on a task; the rest of the toolbox iterates over the tasks it is given and asks them.
A new task is a subclass of :class:`CategoricalTask` or :class:`ContinuousTask` registered in ``TASKS``.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from torch import Tensor

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import MODELS, TASKS

Array: TypeAlias = np.ndarray | Tensor


_TAKEN = {*dir(torch.nn.ModuleDict()), *dir(PixelData())}


@dataclass
class Legend:
    """How to read a task's picture.

    Attributes:
        entries: ``(name, (r, g, b))`` per class, for categorical pictures.
        ramp: uint8 (N, 3) colours from ``low`` to ``high``, for pictures with a colour bar.
        low, high: Values at the ends of the ramp, in ``unit``.
        unit: Unit of the values, or a hint how to read the colours.
    """

    entries: list[tuple[str, tuple[int, int, int]]] = field(default_factory=list)
    ramp: np.ndarray | None = None
    low: float = 0.0
    high: float = 1.0
    unit: str = ''


def flip_axis(array: Array, axis: int) -> Array:
    """Mirror ``array`` (numpy or torch) along ``axis``."""
    return torch.flip(array, (axis,)) if isinstance(array, Tensor) else np.ascontiguousarray(np.flip(array, axis))


def resize_nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of an (H, W) or (C, H, W) map to ``size`` = (height, width), as cv2.INTER_NEAREST."""
    height, width = size
    if label.shape[-2:] == (height, width):
        return label
    # cv2 knows neither int64 nor planar channels; picking rows and columns by its own rule (floor of the scaled index)
    # gives the same pixels for every dtype.
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1.0 / (new / old))).astype(np.int64), old - 1)
        for new, old in zip(size, label.shape[-2:])
    )
    # twenty times faster than one fancy index; all indices are inside
    return label.take(rows, axis=-2, mode='clip').take(columns, axis=-1, mode='clip')


class Task(ABC):
    """One kind of dense map: its label, geometry, loss, prediction, code, metric and picture.

    Args:
        name: The task's name: its key in configs, data samples, losses and metrics. Default: the class's own.
        loss: Config of a loss module taking (logits, label); default :attr:`default_loss`.
        loss_weight: Factor of the loss in the sum over tasks.
        metric: Config of a metric, or a list of them, empty for none; default: :meth:`default_metric`.
        source: Name of the label a dataset loads for this task; default ``name``.
    """

    default_name: str = ''
    aliases: tuple[str, ...] = ()
    """Other names of the task in published code and checkpoints."""
    prompt: str = ''
    """What a text encoder is told for the task; default: its default name in words."""
    frames: int = 1
    """How many frames the network has to see: 2 for motion."""
    categorical: bool
    label_channels: int
    out_channels: int
    """Channels of the raw network output (logits)."""
    zero_is_unknown: bool = False
    """Whether a stored 0 is no value, in any kind of file."""
    primary_metric: str = ''
    """The metric by which papers compare the task."""
    greater_is_better: bool = False
    """Of the primary metric."""

    def __init__(
        self,
        name: str | None = None,
        *,
        loss: dict | None = None,
        loss_weight: float = 1.0,
        metric: dict | Sequence[dict] | None = None,
        source: str | None = None,
    ) -> None:
        self.name = name or self.default_name
        if not self.name:
            raise ConfigError(f'{type(self).__name__} needs a name')
        if not isinstance(self.name, str) or not re.fullmatch(r'[\w-]+', self.name) or self.name in _TAKEN:
            raise ConfigError(
                f"task '{self.name}': a task's name is made of letters, digits, '_' and '-', and is no word that torch's "
                f'modules or data samples use themselves'
            )
        self.prompt = self.prompt or (self.default_name or self.name).replace('_', ' ')
        self.loss_weight = float(loss_weight)
        if not 0 <= self.loss_weight < float('inf'):
            raise ConfigError(f"task '{self.name}': loss_weight must be a number of at least 0, got {loss_weight}")
        self.source = source or self.name
        self._loss_config = dict(loss) if loss else None
        self._metric_config = metric
        self._loss: Any = None

    def __repr__(self) -> str:
        return f'{type(self).__name__}(name={self.name!r}, out_channels={self.out_channels})'

    # ---- label -----------------------------------------------------------------------------------------------------
    @abstractmethod
    def check_label(self, label: np.ndarray, where: str) -> None:
        """Raise :class:`LabelError` unless ``label`` has the declared form and range; ``where`` names the file."""

    @abstractmethod
    def valid(self, label: Array) -> Array:
        """Boolean (..., H, W): where the label is known."""

    @abstractmethod
    def blank(self, size: tuple[int, int]) -> np.ndarray:
        """A label of (H, W) = ``size`` without a single valid pixel."""

    # ---- geometry --------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def pad_value(self) -> float:
        """What fills a padded pixel: invalid."""

    def resize(self, label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The label on a grid of ``size`` = (H, W): nearest pixel; values counted in pixels are rescaled."""
        return resize_nearest(label, size)

    def zoom(self, label: np.ndarray, factor: float) -> np.ndarray:
        """The label's values after the camera has come ``factor`` times closer (random scaling); the grid stays."""
        return label

    def flip(self, label: Array, direction: str = 'horizontal') -> Array:
        """The label (or prediction) of the mirrored image; ``direction`` is ``horizontal`` or ``vertical``."""
        return flip_axis(label, -1 if direction == 'horizontal' else -2)

    def crop(self, label: Array, top: int, left: int, height: int, width: int) -> Array:
        """The label inside a box."""
        return label[..., top : top + height, left : left + width]

    def pad(self, label: np.ndarray, left: int, right: int, top: int, bottom: int) -> np.ndarray:
        """The label with an invalid frame around it."""
        height, width = label.shape[-2:]
        padded = np.full((*label.shape[:-2], top + height + bottom, left + width + right), self.pad_value, label.dtype)
        padded[..., top : top + height, left : left + width] = label
        return padded

    def finish(self, label: np.ndarray) -> np.ndarray:
        """A last look at the label when all geometry is done (a rule that needs the final crop goes here)."""
        return label

    def resize_prediction(self, prediction: Tensor, size: tuple[int, int]) -> Tensor:
        """A raw map (B, C, h, w) on a grid of ``size``, bilinearly; values counted in pixels are rescaled."""
        if prediction.shape[-2:] == tuple(size):
            return prediction
        return torch.nn.functional.interpolate(prediction, size, mode='bilinear', align_corners=False)

    def enlarge_prediction(self, prediction: Tensor, size: tuple[int, int]) -> Tensor:
        """A prediction (B, C, h, w), in the form of :meth:`predict`, on a grid of ``size``: classes by nearest pixel,
        values as :meth:`resize_prediction` does it."""
        if prediction.is_floating_point():
            return self.resize_prediction(prediction, size)
        return torch.from_numpy(resize_nearest(prediction.numpy(), size))

    # ---- loss ------------------------------------------------------------------------------------------------------
    @abstractmethod
    def default_loss(self) -> dict:
        """Config of the loss used when none is given."""

    def loss(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        """The unweighted loss.

        Args:
            logits: (n, ``out_channels``, H, W), raw.
            label: (n, H, W) int64 or (n, C, H, W) float32, at the logits' size.
            per_sample: Normalise every sample by its own valid pixels and return (n,) instead of one scalar.

        Raises:
            ConfigError: The loss module has parameters, which nothing would train, or gives no loss.
        """
        if self._loss is None:
            built = MODELS.build(self._loss_config or self.default_loss())
            if isinstance(built, torch.nn.Module) and any(True for _ in built.parameters()):
                raise ConfigError(
                    f"task '{self.name}': {type(built).__name__} has parameters, and a task's loss is no part of the model "
                    'that is trained: put them into a decoder'
                )
            self._loss = built
        loss = self._loss(logits, label, per_sample=True) if per_sample else self._loss(logits, label)
        shape = (len(label),) if per_sample else ()
        if not isinstance(loss, Tensor) or loss.shape != shape or (logits.requires_grad and not loss.requires_grad):
            found = f'a tensor {tuple(loss.shape)}' if isinstance(loss, Tensor) else f'{type(loss).__name__}'
            if isinstance(loss, Tensor) and loss.shape == shape:
                found += ' without a gradient'
            raise ConfigError(
                f"task '{self.name}': expected of {type(self._loss).__name__} a tensor of shape {shape} that depends on the "
                f'prediction, found {found}'
            )
        return loss

    # ---- prediction ------------------------------------------------------------------------------------------------
    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """Raw (B, ``out_channels``, H, W) → prediction in the label's unit; see each task for its form."""

    def bound(self, logits: Tensor) -> Tensor:
        """Raw maps restricted to the values the task can take before they are resized; most tasks have no bound."""
        return logits

    def to_average(self, logits: Tensor) -> Tensor:
        """What of raw maps may be averaged with weights: probabilities, or what :meth:`predict` gives."""
        return self.predict(logits)

    def from_average(self, mean: Tensor) -> Tensor:
        """A raw map whose prediction is the mean of what :meth:`to_average` gave."""
        return mean

    # ---- uncertainty -----------------------------------------------------------------------------------------------
    spread_unit: str = ''
    """Unit of :meth:`spread`."""
    spread_limit: float | None = None
    """The largest spread there is; None where there is no largest."""

    @abstractmethod
    def spread(self, mean: Tensor, variance: Tensor) -> Tensor:
        """How far several predictions of an image differ, per pixel.

        Args:
            mean: (C, H, W), the mean of what :meth:`to_average` gave of each.
            variance: (1, H, W), the mean square distance of the same to ``mean``, summed over the channels.

        Returns:
            (1, H, W) of at least 0, in :attr:`spread_unit`.
        """

    # ---- code of a diffusion decoder's label encoder ----------------------------------------------------------------
    code_classes: int | None = None
    """Number of discrete codes without the extra one for "unknown"; None for a continuous code."""
    code_channels: int = 1
    """Channels of a continuous code."""

    @abstractmethod
    def code_label(self, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Label → code on a grid of ``size``.

        Returns:
            Discrete tasks: int64 (n, h, w) with ``code_classes`` where unknown, and None. Continuous tasks: float
            (n, ``code_channels``, h, w) and the share of unknown pixels (n, 1, h, w) in [0, 1].
        """

    @abstractmethod
    def code_logits(self, logits: Tensor) -> Tensor:
        """Raw output → code on the same grid, as :meth:`code_label` but with nothing unknown."""

    # ---- picture of a latent-diffusion autoencoder -------------------------------------------------------------------
    @abstractmethod
    def to_image(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Label → what an image autoencoder is fed with; magnitudes may be normalised per sample.

        Args:
            label: (n, H, W) int64 or (n, C, H, W) float32.

        Returns:
            image: float32 (n, 3, H, W), finite, in [-1, 1] where valid.
            valid: boolean (n, 1, H, W).
        """

    @abstractmethod
    def from_image(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) of an autoencoder, not yet clipped → prediction, in the form of :meth:`predict`.

        What :meth:`to_image` normalised away stays unknown: depth comes in [0, 1], motion in [-1, 1], up to a scale.
        """

    # ---- classes of a label, for attention by label --------------------------------------------------------------
    @abstractmethod
    def default_regions(self) -> dict:
        """Config of what turns the task's labels into a few classes (``mmmtl.models.atrc.regions``)."""

    # ---- metric ----------------------------------------------------------------------------------------------------
    @abstractmethod
    def default_metric(self) -> dict:
        """Config of the metric used when none is given."""

    @property
    def metrics(self) -> list[dict]:
        """Configs of the task's metrics."""
        chosen = self.default_metric() if self._metric_config is None else self._metric_config
        return [dict(chosen)] if isinstance(chosen, Mapping) else [dict(c) for c in chosen]

    @abstractmethod
    def constant_predictions(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Predictions of one value everywhere worth trying against a network: each (C,), in the prediction's form."""

    # ---- picture ---------------------------------------------------------------------------------------------------
    @abstractmethod
    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        """Label or prediction → uint8 RGB (H, W, 3).

        Args:
            label: (H, W), (1, H, W) or (C, H, W), in the label's or the prediction's form.
            reference: Map whose value range is used, so that a prediction is drawn like its ground truth.
        """

    @abstractmethod
    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        """How to read the picture that :meth:`colorize` makes of the same arguments."""


def task_title(name: str) -> str:
    """A task's name in words: of a shipped task those of its class (``semseg`` → Semantic segmentation)."""
    kinds = (kind for kind in TASKS.module_dict.values() if name in (getattr(kind, 'default_name', ''), *kind.aliases))
    kind = next(kinds, None)
    words = name.replace('_', ' ') if kind is None else re.sub(r'(?<!^)(?=[A-Z])', ' ', kind.__name__)
    return words.capitalize()


def build_tasks(tasks: Mapping[str, Any]) -> dict[str, Task]:
    """Build ``{name: config or Task}`` into ``{name: Task}``, in the same order.

    Raises:
        ConfigError: When there is no task, or a key and its task's name differ.
    """
    if not tasks:
        raise ConfigError('tasks is empty: name at least one, for example tasks=dict(depth=dict(type="Depth"))')
    built = {}
    for name, task in tasks.items():
        if not isinstance(task, Task):
            if not isinstance(task, Mapping) or 'type' not in task:
                raise ConfigError(
                    f"tasks['{name}'] must be a config with a type, got {task!r:.80}.{suggest(name, TASKS.module_dict)}"
                )
            task = TASKS.build(dict(task, name=name))
        if task.name != name:
            raise ConfigError(f"tasks['{name}'] holds a task that calls itself '{task.name}'")
        built[name] = task
    return built


UNKNOWN_COLOURS = ((128, 122, 140), (196, 190, 208))
"""The two colours of the stripes that unknown pixels are drawn with; a legend shows the first."""


def stripe_unknown(picture: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Draw the pixels where ``unknown`` (H, W) is true as stripes, which no label looks like, into ``picture`` (H, W, 3).

    Returns:
        ``picture``, changed in place.
    """
    rows, columns = np.nonzero(unknown)
    width = max(2, min(unknown.shape) // 40)
    picture[rows, columns] = np.array(UNKNOWN_COLOURS, np.uint8)[(rows + columns) // width % 2]
    return picture


def colour_ramp(colormap: int) -> np.ndarray:
    """uint8 (256, 3) RGB of one of OpenCV's colour maps."""
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], colormap)
    return np.ascontiguousarray(ramp[:, 0, ::-1])

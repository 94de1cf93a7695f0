"""What a loss insists on: the form of label and logits that it is meant for, and weights that are weights."""

from __future__ import annotations

from torch import Tensor, nn

from mmmtl.errors import ConfigError


def expect_classes(loss: nn.Module, logits: Tensor, label: Tensor, channels: int | None = None) -> None:
    """Refuse what is no label of classes (n, H, W), or logits of other than ``channels`` (None: two or more).

    Raises:
        ConfigError: The loss is for other tasks.
    """
    fits = logits.shape[1] == channels if channels else logits.shape[1] > 1
    if label.is_floating_point() or label.ndim != 3 or not fits:
        wanted = channels or 'two or more'
        _refuse(loss, f'class ids (n, H, W) and logits of {wanted} channels', logits, label)


def expect_numbers(loss: nn.Module, logits: Tensor, label: Tensor, least: int = 1) -> None:
    """Refuse what is no label of numbers in the shape of the logits, of ``least`` channels.

    Raises:
        ConfigError: The loss is for other tasks.
    """
    if not label.is_floating_point() or label.shape != logits.shape or label.shape[1] < least:
        _refuse(loss, f'floats of the shape of the logits, of at least {least} channels', logits, label)


def _refuse(loss: nn.Module, wanted: str, logits: Tensor, label: Tensor) -> None:
    raise ConfigError(
        f'{type(loss).__name__} is a loss for labels of {wanted}, found a label {label.dtype} {tuple(label.shape)} and '
        f'logits {tuple(logits.shape)}: choose another one for this task (tasks.NAME.loss)'
    )


def positive_share(name: str, weight: float) -> float:
    """The weight of positive pixels, of 1 in all.

    Raises:
        ConfigError: It is not between 0 and 1.
    """
    if not 0 < weight < 1:
        raise ConfigError(f'{name}: positive_weight must lie between 0 and 1, got {weight}')
    return weight

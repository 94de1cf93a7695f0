"""Human part segmentation: head, torso, arms and legs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmmtl.registry import TASKS
from mmmtl.utils.labels import IGNORE

from .categorical import CategoricalTask

PARTS = ('background', 'head', 'torso', 'upper arms', 'lower arms', 'upper legs', 'lower legs')
COLOURS = (
    (60, 64, 72),
    (239, 131, 84),
    (79, 157, 166),
    (242, 196, 109),
    (196, 90, 110),
    (122, 160, 90),
    (130, 110, 190),
)


@TASKS.register_module()
class HumanParts(CategoricalTask):
    """Six body parts and the background. Label: int64 (H, W), 255 unknown.

    An image in which nobody is visible after cropping teaches nothing about parts: its whole label becomes unknown, in
    training and evaluation, as in the published protocol on PASCAL-Context.

    Args:
        ignore_empty: Apply that rule.
    """

    default_name = 'human_parts'
    aliases = ('parts', 'parsing')
    primary_metric = 'mIoU'

    def __init__(
        self,
        name: str | None = None,
        *,
        classes: Sequence[str] | int = PARTS,
        palette: Sequence[Sequence[int]] | None = None,
        ignore_empty: bool = True,
        **kwargs: Any,
    ) -> None:
        count = classes if isinstance(classes, int) else len(classes)
        super().__init__(name, classes=classes, palette=palette or (COLOURS if count == 7 else None), **kwargs)
        self.ignore_empty = ignore_empty

    def finish(self, label: np.ndarray) -> np.ndarray:
        if self.ignore_empty and not ((label != 0) & (label != IGNORE)).any():
            return np.full_like(label, IGNORE)
        return label
